// Failures inside the library: one exception type that carries the status and the sentence of the C boundary.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#include "gptoss.h"

namespace gptoss {

class Error : public std::runtime_error {
public:
    Error(gptoss_status status, const std::string& sentence) : std::runtime_error(sentence), status_(status) {}
    gptoss_status status() const noexcept { return status_; }

private:
    gptoss_status status_;
};

// Throws an Error whose sentence is the parts, one after the other.
template <class... Parts>
[[noreturn]] void fail(gptoss_status status, const Parts&... parts) {
    std::ostringstream sentence;
    (sentence << ... << parts);
    throw Error(status, sentence.str());
}

// The text behind gptoss_last_error(), one for each thread.
const char* last_error() noexcept;
void set_last_error(const char* sentence) noexcept;

} // namespace gptoss
