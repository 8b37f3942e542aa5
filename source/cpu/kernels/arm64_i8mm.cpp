#define GPTOSS_KERNELS kKernelsArm64I8mm
#define GPTOSS_KERNELS_NAME "arm64-i8mm"
#define GPTOSS_NEON
#define GPTOSS_INTEGER_KERNELS_ONLY
#include "table.inl"
