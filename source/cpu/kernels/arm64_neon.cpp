#define GPTOSS_KERNELS kKernelsArm64Neon
#define GPTOSS_KERNELS_NAME "arm64-neon"
#define GPTOSS_NEON
#include "table.inl"
