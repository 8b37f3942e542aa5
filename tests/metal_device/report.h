// What GPTOSS_METAL_HOST_REPORT collects: a line of JSON for each command buffer that was run to its end.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "dispatch.h"

namespace gptoss::metal::host {

// {"label": "decode", "dispatches": 3, "barriers": 2, "unneeded_barriers": ["before dispatch 3 (norm)"],
//  "kernels": ["embed_bf16", ...], "bytes_read": 1024, "bytes_written": 512}
// The kernels are in the order of encoding. Bytes are the sizes of the slices, each in the sum once for every dispatch:
// written where the kernel may write to it, else read. Bytes of the command buffer's own do not count.
std::string report_line(const std::string& label,
                        std::span<const Dispatch> dispatches,
                        std::span<const size_t> barriers);

// Throws io_error.
void append_line(const std::string& file, const std::string& line);

} // namespace gptoss::metal::host
