#include "forward.h"

namespace gptoss {

void forward(Backend& backend, const ModelFile& model, const Batch& batch, const std::function<void()>& checkpoint) {
    checkpoint();
    backend.embed(model.embedding());
    for (size_t index = 0; index < model.config().num_blocks; index++) {
        const BlockPlaces& block = model.block(index);

        backend.project_qkv(index, block.attention_norm, block.qkv_weight, block.qkv_bias);
        if (index + 1 == model.config().num_blocks) {
            // Later tokens need no more of this batch than the keys and values that are in the cache by now.
            if (batch.logit_rows.empty()) {
                checkpoint();
                return;
            }
            backend.keep_logit_rows();
        }
        backend.attend(index, block.attention_sinks);
        backend.project_attention_output(block.output_weight, block.output_bias);

        backend.route(block.mlp_norm, block.router_weight, block.router_bias);
        backend.apply_experts(block.experts_offset, model.expert());

        checkpoint();
    }
    backend.unembed(model.final_norm(), model.unembedding());
}

} // namespace gptoss
