# Which kernels may be compiled with fast-math: it lets the compiler reorder sums, and assume that no NaN and no infinity
# occurs. Those that may not:
#
#   sample_*  decide by comparisons with FLT_MAX whether a model's logits are numbers at all
#   expert_*  decode MXFP4, where codes of magnitude 0.5 pass through subnormal halves (mxfp4.h). Only conversions touch
#             them, which fast-math should leave alone, but nothing documents that. Nothing would be gained, either:
#             their products are explicit fma() and their exponential is precise::exp()
#
# The others keep to finite numbers, with finite sentinels for "no score yet" (attention_tile.h), and may gain:
# metal::dot() can become four fused operations instead of seven. Of an 8-bit matrix, the scales may be subnormal halves;
# they are converted once and never computed with as halves.
set(gptoss_kernels_without_fast_math "^(sample|expert)_")
