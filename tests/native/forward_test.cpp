// The forward pass as what a backend is asked for: which verb, of which block, with which tensors, in which order.
#include "forward.h"

#include <stdexcept>

#include "check.h"
#include "model_file_builder.h"

using gptoss::Batch;
using gptoss::DensePlace;
using gptoss::KvStorage;
using gptoss::ModelFile;
using gptoss::TensorPlace;

namespace {

// Computes nothing and writes down each verb with the names of its tensors.
class Recorder final : public gptoss::Backend {
public:
    explicit Recorder(const ModelFile& file) : file_(file) {}

    std::vector<std::string> verbs;

    void begin(const Batch&) override {}
    void embed(const DensePlace& embedding) override { note("embed", {name(embedding)}); }
    void project_qkv(size_t block,
                     const TensorPlace& gain,
                     const DensePlace& weight,
                     const TensorPlace& bias) override {
        note("project_qkv " + std::to_string(block), {name(gain), name(weight), name(bias)});
    }
    void keep_logit_rows() override { note("keep_logit_rows", {}); }
    void attend(size_t block, const TensorPlace& sinks) override {
        note("attend " + std::to_string(block), {name(sinks)});
    }
    void project_attention_output(const DensePlace& weight, const TensorPlace& bias) override {
        note("project_attention_output", {name(weight), name(bias)});
    }
    void route(const TensorPlace& gain, const TensorPlace& weight, const TensorPlace& bias) override {
        note("route", {name(gain), name(weight), name(bias)});
    }
    void apply_experts(uint64_t experts_offset, const gptoss::ExpertPlaces& expert) override {
        note("apply_experts", {name({experts_offset + expert.mlp1_blocks.offset, expert.mlp1_blocks.num_bytes})});
    }
    void unembed(const TensorPlace& gain, const DensePlace& weight) override {
        note("unembed", {name(gain), name(weight)});
    }
    void end() override {}

    // What a forward pass does not ask for.
    gptoss_backend kind() const override { return gptoss_backend_cpu; }
    uint32_t num_threads() const override { return 1; }
    gptoss_precision precision() const override { return gptoss_precision_exact; }
    size_t workspace_bytes() const override { return 0; }
    std::unique_ptr<KvStorage> create_kv_storage(size_t, size_t) const override { return nullptr; }
    size_t kv_storage_bytes(size_t, size_t) const override { return 0; }
    size_t longest_context(size_t) const override { return 0; }
    std::span<const float> logits(size_t) const override { return {}; }

private:
    void note(std::string verb, const std::vector<std::string>& tensors) {
        for (const std::string& tensor : tensors) {
            verb += " " + tensor;
        }
        verbs.push_back(verb);
    }
    std::string name(const DensePlace& place) const { return name(place.weight); }
    std::string name(const TensorPlace& place) const {
        for (const gptoss_tensor& tensor : file_.tensors()) {
            if (tensor.offset == place.offset && tensor.num_bytes == place.num_bytes) {
                return tensor.name;
            }
        }
        return "(no tensor at " + std::to_string(place.offset) + ")";
    }

    const ModelFile& file_;
};

ModelFile small_model() { // of two blocks
    return ModelFile::parse(builder::build_model_file(builder::small_config(), builder::byte_vocabulary(), 1),
                            "small model");
}

Batch some_batch(std::vector<uint32_t> logit_rows) {
    return {.tokens = {1, 2, 3}, .spans = {{nullptr, 0, 3}}, .logit_rows = std::move(logit_rows)};
}

std::string lines(const std::vector<std::string>& verbs) {
    std::string text;
    for (const std::string& verb : verbs) {
        text += "\n" + verb;
    }
    return text;
}

const char* const kFirstBlock =
    "\nembed embedding.weight"
    "\nproject_qkv 0 block.0.attn.norm.scale block.0.attn.qkv.weight block.0.attn.qkv.bias"
    "\nattend 0 block.0.attn.sinks"
    "\nproject_attention_output block.0.attn.out.weight block.0.attn.out.bias"
    "\nroute block.0.mlp.norm.scale block.0.mlp.gate.weight block.0.mlp.gate.bias"
    "\napply_experts block.0.mlp.experts.0.mlp1_weight.blocks"
    "\nproject_qkv 1 block.1.attn.norm.scale block.1.attn.qkv.weight block.1.attn.qkv.bias";

} // namespace

TEST(the_last_block_goes_on_with_logit_rows_once_its_keys_and_values_are_written) {
    const ModelFile file = small_model();
    Recorder backend(file);
    gptoss::forward(backend, file, some_batch({2}), [] {});
    CHECK_EQUAL(lines(backend.verbs), std::string(kFirstBlock) +
                                          "\nkeep_logit_rows"
                                          "\nattend 1 block.1.attn.sinks"
                                          "\nproject_attention_output block.1.attn.out.weight block.1.attn.out.bias"
                                          "\nroute block.1.mlp.norm.scale block.1.mlp.gate.weight block.1.mlp.gate.bias"
                                          "\napply_experts block.1.mlp.experts.0.mlp1_weight.blocks"
                                          "\nunembed norm.scale unembedding.weight");
}

TEST(a_batch_without_logit_rows_ends_with_the_last_blocks_keys_and_values) {
    const ModelFile file = small_model();
    Recorder backend(file);
    gptoss::forward(backend, file, some_batch({}), [] {});
    CHECK_EQUAL(lines(backend.verbs), std::string(kFirstBlock));
}

TEST(checkpoints_are_before_the_first_block_and_behind_each) {
    const ModelFile file = small_model();
    for (const std::vector<uint32_t>& logit_rows : {std::vector<uint32_t>{2}, std::vector<uint32_t>{}}) {
        Recorder backend(file);
        std::vector<size_t> verbs_before;
        gptoss::forward(backend, file, some_batch(logit_rows), [&] { verbs_before.push_back(backend.verbs.size()); });
        CHECK_EQUAL(verbs_before.size(), size_t{3});
        CHECK_EQUAL(verbs_before[0], size_t{0});
        CHECK_EQUAL(verbs_before[1], size_t{6}); // embed, and the five verbs of a block
        CHECK_EQUAL(verbs_before[2], logit_rows.empty() ? size_t{7} : size_t{12});
    }
}

TEST(a_checkpoint_that_throws_ends_the_pass_there) {
    const ModelFile file = small_model();
    Recorder backend(file);
    size_t num_checkpoints = 0;
    bool has_thrown = false;
    try {
        gptoss::forward(backend, file, some_batch({2}), [&] {
            if (++num_checkpoints == 2) {
                throw std::runtime_error("stop");
            }
        });
    } catch (const std::runtime_error&) {
        has_thrown = true;
    }
    CHECK(has_thrown);
    CHECK_EQUAL(backend.verbs.size(), size_t{6});
}
