#include "machine.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace gptoss::cpu {

namespace {

#if defined(__APPLE__)

std::string processor_name(const utsname& system) {
    char name[128];
    size_t size = sizeof(name);
    return ::sysctlbyname("machdep.cpu.brand_string", name, &size, nullptr, 0) == 0 ? name : system.machine;
}

#else

// What /proc/cpuinfo calls the first processor, where it has a name: not on every architecture.
std::string processor_name(const utsname& system) {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        const size_t colon = line.find(": ");
        if (line.starts_with("model name") && colon != std::string::npos) {
            return line.substr(colon + 2);
        }
    }
    return system.machine;
}

#endif

template <size_t size>
void copy_text(char (&target)[size], const std::string& text) {
    std::snprintf(target, size, "%s", text.c_str());
}

} // namespace

gptoss_device_info describe_machine() {
    gptoss_device_info info = {};
    info.backend = gptoss_backend_cpu;
    utsname system = {};
    ::uname(&system);
    copy_text(info.name, processor_name(system));
    copy_text(info.operating_system, std::string(system.sysname) + " " + system.release);
    const long num_pages = ::sysconf(_SC_PHYS_PAGES);
    const long page_size = ::sysconf(_SC_PAGESIZE);
    if (num_pages > 0 && page_size > 0) {
        info.physical_bytes = static_cast<uint64_t>(num_pages) * static_cast<uint64_t>(page_size);
    }
    return info;
}

} // namespace gptoss::cpu
