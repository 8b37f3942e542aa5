#define GPTOSS_KERNELS kKernelsX86_64V4Amx
#define GPTOSS_KERNELS_NAME "x86-64-v4-amx"
#define GPTOSS_INTEGER_KERNELS_ONLY
#include "table.inl"
