// After a kernel's source, before the registration of its kernels.
#undef kernel
#undef device
#undef constant
#undef threadgroup
#undef thread
#undef double
#undef std

// What the launcher looks kernels and constants up in: it is a library of its own, shared by all libraries of kernels.
extern "C" __attribute__((visibility("default"))) const void* metal_host_kernel_records();
extern "C" __attribute__((visibility("default"))) const void* metal_host_constant_records();

const void* metal_host_kernel_records() {
    return &metal_host::kernel_records();
}

const void* metal_host_constant_records() {
    return &metal_host::constant_records();
}
