#include "thread_count.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "control_groups.h"
#include "errors.h"

namespace gptoss::cpu {

uint32_t num_usable_processors() {
#if defined(__linux__)
    cpu_set_t processors;
    if (::sched_getaffinity(0, sizeof(processors), &processors) == 0) {
        return static_cast<uint32_t>(CPU_COUNT(&processors));
    }
#endif
    return std::max(1u, std::thread::hardware_concurrency());
}

uint32_t default_num_threads(const std::filesystem::path& root) {
    const uint32_t most = std::min(num_usable_processors(), kMaxThreads);
    // Rounded up: 1.5 processors' time is used up by two threads and not by one.
    const double granted = std::ceil(granted_processors(root));
    return granted < most ? std::max(1u, static_cast<uint32_t>(granted)) : most;
}

uint32_t choose_num_threads(uint32_t requested) {
    if (requested > kMaxThreads) {
        fail(gptoss_status_invalid_argument, "The number of threads must be from 1 to ", kMaxThreads, ", found ",
             requested, ".");
    }
    if (requested != 0) {
        return requested;
    }
    const char* const variable = std::getenv("GPTOSS_THREADS");
    if (variable == nullptr || *variable == '\0') {
        return default_num_threads();
    }
    const std::string_view text = variable;
    uint32_t wanted = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), wanted);
    if (error != std::errc() || end != text.data() + text.size() || wanted < 1 || wanted > kMaxThreads) {
        fail(gptoss_status_invalid_argument, "GPTOSS_THREADS is '", text, "': set it to a number of threads from 1 to ",
             kMaxThreads, ", or unset it for one thread per available processor.");
    }
    return wanted;
}

} // namespace gptoss::cpu
