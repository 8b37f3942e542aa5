#include "kernel_library.h"

#include <dlfcn.h>

#include <filesystem>
#include <map>
#include <mutex>

#include "../metal_host/runtime/launch.h"
#include "errors.h"

namespace gptoss::metal::host {

namespace {

std::filesystem::path own_folder() {
    Dl_info information{};
    if (dladdr(reinterpret_cast<const void*>(&own_folder), &information) == 0 || information.dli_fname == nullptr) {
        return {};
    }
    return std::filesystem::path(information.dli_fname).parent_path();
}

std::filesystem::path kernel_folder(const std::string& mode) {
    const std::filesystem::path beside = own_folder() / "metal_host_kernels" / mode;
    if (std::filesystem::is_directory(beside)) {
        return beside;
    }
    const std::filesystem::path of_build = std::filesystem::path(GPTOSS_METAL_HOST_KERNELS) / mode;
    if (std::filesystem::is_directory(of_build)) {
        return of_build;
    }
    fail(gptoss_status_unsupported_system, "The Metal host device has no kernels for ", mode, " mode: neither ",
         beside.string(), " nor ", of_build.string(), " is there. ",
         mode == "trace" ? "Build gptoss with the CMake option GPTOSS_METAL_HOST_TRACE=ON."
                         : "Build gptoss again with GPTOSS_BUILD_METAL=host.");
}

template <class Function>
void find_symbol(void* library, const std::string& path, const char* name, Function& function) {
    void* address = dlsym(library, name);
    if (address == nullptr) {
        fail(gptoss_status_internal_error, path, " has no function ", name,
             ": it is not a library of Metal kernels, or an old one. Build gptoss again with GPTOSS_BUILD_METAL=host.");
    }
    function = reinterpret_cast<Function>(address);
}

std::vector<::metal_host::constant_value> to_values(std::span<const FunctionConstant> constants) {
    std::vector<::metal_host::constant_value> values;
    for (const FunctionConstant& constant : constants) {
        values.push_back({constant.index, 1, constant.value, static_cast<double>(constant.value)});
    }
    return values;
}

} // namespace

const KernelLibrary& KernelLibrary::get(const std::string& mode, const std::string& file) {
    static std::mutex mutex;
    static std::map<std::string, std::unique_ptr<KernelLibrary>> libraries; // by path
    const std::string path = (kernel_folder(mode) / (file + ".so")).string();
    const std::lock_guard lock(mutex);
    std::unique_ptr<KernelLibrary>& library = libraries[path];
    if (library == nullptr) {
        library.reset(new KernelLibrary(path));
    }
    return *library;
}

// The machine's functions are looked up through the kernels, which are linked with it: another library of kernels in
// this process may have brought a machine of its own.
KernelLibrary::KernelLibrary(const std::string& path) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        fail(gptoss_status_internal_error, "Metal kernels could not be loaded: ", dlerror(), ".");
    }
    const void* (*kernels)() = nullptr;
    const void* (*constants)() = nullptr;
    find_symbol(library, path, "metal_host_kernel_records", kernels);
    find_symbol(library, path, "metal_host_constant_records", constants);
    kernels_ = kernels();
    constants_ = constants();
    find_symbol(library, path, "metal_host_launch", launch_);
    find_symbol(library, path, "metal_host_describe", describe_);
    find_symbol(library, path, "metal_host_keep", keep_);
    find_symbol(library, path, "metal_host_release", release_);
}

KernelSignature KernelLibrary::describe(const std::string& kernel, std::span<const FunctionConstant> constants) const {
    const std::vector<::metal_host::constant_value> values = to_values(constants);
    metal_host_signature found{};
    if (const char* error = describe_(kernels_, constants_, kernel.c_str(), values.data(), values.size(), &found)) {
        fail(gptoss_status_internal_error, "The Metal kernel ", kernel, " cannot be made: ", error,
             ". This is a defect of gptoss: please report it.");
    }
    KernelSignature signature;
    signature.most_threads = found.most_threads;
    for (uint32_t i = 0; i < found.num_parameters; i++) {
        const metal_host_parameter& p = found.parameters[i];
        signature.parameters.push_back({p.index, p.is_threadgroup_memory != 0, p.is_writable != 0, p.name});
    }
    return signature;
}

std::string KernelLibrary::launch(const std::string& kernel,
                                  std::span<const FunctionConstant> constants,
                                  metal_host_launch_request request) const {
    const std::vector<::metal_host::constant_value> values = to_values(constants);
    request.constants = values.data();
    request.num_constants = values.size();
    const char* error = launch_(kernels_, constants_, kernel.c_str(), &request);
    return error != nullptr ? error : "";
}

KeptCopy KernelLibrary::keep(std::span<const std::byte> memory) const {
    const metal_host_kept* kept = keep_(memory.data(), memory.size());
    if (kept == nullptr) {
        fail(gptoss_status_insufficient_resources, "There is no memory for a copy of ", memory.size(),
             " bytes of weights, which the Metal host device makes.");
    }
    return {kept, release_};
}

} // namespace gptoss::metal::host
