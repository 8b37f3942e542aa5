#define GPTOSS_KERNELS kKernelsBaseline
#define GPTOSS_KERNELS_NAME "baseline"
#include "table.inl"
