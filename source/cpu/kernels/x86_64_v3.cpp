#define GPTOSS_KERNELS kKernelsX86_64V3
#define GPTOSS_KERNELS_NAME "x86-64-v3"
#include "table.inl"
