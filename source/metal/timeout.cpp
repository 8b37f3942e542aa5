#include "timeout.h"

#include <cstdlib>

#include "../errors.h"

namespace gptoss::metal {

namespace {

// The longest batch takes a few seconds; what takes this long has stopped.
constexpr double kDefaultTimeoutSeconds = 60;

} // namespace

std::chrono::duration<double> read_timeout() {
    const char* const text = std::getenv(kTimeoutVariable);
    if (text == nullptr || *text == '\0') {
        return std::chrono::duration<double>(kDefaultTimeoutSeconds);
    }
    char* end = nullptr;
    const double seconds = std::strtod(text, &end);
    if (*end != '\0' || !(seconds > 0 && seconds <= 86400)) {
        fail(gptoss_status_invalid_argument, "The environment variable ", kTimeoutVariable,
             " has to be the seconds that the GPU may take to answer, above 0 and at most 86400; found '", text, "'.");
    }
    return std::chrono::duration<double>(seconds);
}

} // namespace gptoss::metal
