#include "forward.h"

namespace gptoss {

void forward(Backend& backend, const ModelFile& model, const Batch& batch, const std::function<void()>& checkpoint) {
    checkpoint();
    backend.embed(model.embedding());
    for (size_t index = 0; index < model.config().num_blocks; index++) {
        const BlockPlaces& block = model.block(index);

        backend.project_qkv(index, block.attention_norm, block.qkv_weight, block.qkv_bias);
        backend.attend(index, block.attention_sinks);
        backend.project_attention_output(block.output_weight, block.output_bias);

        backend.route(block.mlp_norm, block.router_weight, block.router_bias);
        backend.apply_experts(block.experts_offset, model.expert());

        checkpoint();
    }
    if (!batch.logit_rows.empty()) {
        backend.unembed(model.final_norm(), model.unembedding());
    }
}

} // namespace gptoss
