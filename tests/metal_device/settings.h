// What the environment asks of the host device: GPTOSS_METAL_HOST_FAULTS, _REPORT, _MODE and _ORDER.
//
// docs/metal-on-linux.md says what they mean to those who set them.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

namespace gptoss::metal::host {

// What is to go wrong. Counts start at 1; 0 is never.
struct Faults {
    bool no_device = false;
    bool old_system = false;
    std::optional<uint64_t> memory;     // DeviceInfo::recommended_bytes
    std::optional<uint64_t> max_buffer; // DeviceInfo::max_buffer_bytes
    uint64_t allocation = 0;            // this make_buffer() fails
    uint64_t failure = 0;               // this command buffer fails when half of its dispatches ran
    uint64_t hang = 0;                  // this command buffer ends with the device
    std::set<std::string> compile;      // these kernels do not compile
};

struct Settings {
    Faults faults;
    std::string report;                 // file, or empty
    std::string mode = "plain";         // of the kernels: or "trace"
    std::optional<uint64_t> order_seed; // a random order of threads and of dispatches; else that of encoding
};

// Throws invalid_argument for what it does not know.
Settings read_settings();

} // namespace gptoss::metal::host
