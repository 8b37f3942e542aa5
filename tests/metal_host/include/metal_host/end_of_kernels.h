// Takes back the keywords that keywords.h defines: the launcher's C++ follows the kernels' source.

#undef kernel
#undef device
#undef constant
#undef threadgroup
#undef thread
#undef double
#undef std
