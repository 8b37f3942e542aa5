#define GPTOSS_KERNELS kKernelsX86_64V4
#define GPTOSS_KERNELS_NAME "x86-64-v4"
#include "table.inl"
