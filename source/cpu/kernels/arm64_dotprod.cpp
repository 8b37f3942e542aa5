#define GPTOSS_KERNELS kKernelsArm64Dotprod
#define GPTOSS_KERNELS_NAME "arm64-dotprod"
#define GPTOSS_NEON
#define GPTOSS_INTEGER_KERNELS_ONLY
#include "table.inl"
