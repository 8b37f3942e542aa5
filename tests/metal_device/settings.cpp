#include "settings.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "errors.h"

namespace gptoss::metal::host {

namespace {

constexpr const char* kFaults = "GPTOSS_METAL_HOST_FAULTS";
constexpr const char* kOrder = "GPTOSS_METAL_HOST_ORDER";
constexpr const char* kMode = "GPTOSS_METAL_HOST_MODE";

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
}

uint64_t to_number(const char* name, std::string_view text) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) {
        fail(gptoss_status_invalid_argument, name, ": \"", text, "\" is not a number of at most 64 bits.");
    }
    return number;
}

void add_fault(Faults& faults, std::string_view fault) {
    const size_t colon = fault.find(':');
    const std::string_view kind = fault.substr(0, colon);
    const std::string_view value = colon == std::string_view::npos ? std::string_view() : fault.substr(colon + 1);
    if (fault == "no_device") {
        faults.no_device = true;
    } else if (fault == "old_system") {
        faults.old_system = true;
    } else if (kind == "memory") {
        faults.memory = to_number(kFaults, value);
    } else if (kind == "max_buffer") {
        faults.max_buffer = to_number(kFaults, value);
    } else if (kind == "allocation") {
        faults.allocation = to_number(kFaults, value);
    } else if (kind == "failure") {
        faults.failure = to_number(kFaults, value);
    } else if (kind == "hang") {
        faults.hang = to_number(kFaults, value);
    } else if (kind == "compile" && !value.empty()) {
        faults.compile.emplace(value);
    } else {
        fail(gptoss_status_invalid_argument, kFaults, ": there is no fault \"", fault,
             "\". There are no_device, old_system, memory:BYTES, max_buffer:BYTES, allocation:N, compile:KERNEL, "
             "failure:N and hang:N, with commas between them.");
    }
}

} // namespace

Settings read_settings() {
    Settings settings;
    const std::string faults = variable(kFaults);
    for (size_t begin = 0; begin < faults.size();) {
        const size_t end = std::min(faults.find(',', begin), faults.size());
        add_fault(settings.faults, std::string_view(faults).substr(begin, end - begin));
        begin = end + 1;
    }
    settings.report = variable("GPTOSS_METAL_HOST_REPORT");
    if (const std::string mode = variable(kMode); !mode.empty()) {
        if (mode != "plain" && mode != "trace") {
            fail(gptoss_status_invalid_argument, kMode, ": \"", mode, "\" is neither plain nor trace.");
        }
        settings.mode = mode;
    }
    if (const std::string order = variable(kOrder); !order.empty()) {
        settings.order_seed = to_number(kOrder, order);
    }
    return settings;
}

} // namespace gptoss::metal::host
