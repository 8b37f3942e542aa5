#include "errors.h"

#include <cstdio>

namespace gptoss {

namespace {

// A fixed buffer: remembering an error must not fail for want of memory.
thread_local char last_error_text[1024] = "";

} // namespace

const char* last_error() noexcept {
    return last_error_text;
}

void set_last_error(const char* sentence) noexcept {
    std::snprintf(last_error_text, sizeof(last_error_text), "%s", sentence);
}

} // namespace gptoss
