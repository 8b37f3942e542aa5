#include "report.h"

#include <fstream>
#include <sstream>
#include <vector>

#include "errors.h"
#include "hazards.h"

namespace gptoss::metal::host {

namespace {

std::string quoted(const std::string& text) {
    std::string json = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            json += '\\';
        }
        json += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    return json + "\"";
}

std::string quoted(const std::vector<std::string>& texts) {
    std::string json = "[";
    for (const std::string& text : texts) {
        json += (json.size() == 1 ? "" : ", ") + quoted(text);
    }
    return json + "]";
}

} // namespace

std::string report_line(const std::string& label,
                        std::span<const Dispatch> dispatches,
                        std::span<const size_t> barriers) {
    uint64_t bytes_read = 0;
    uint64_t bytes_written = 0;
    std::vector<std::string> kernels;
    for (const Dispatch& dispatch : dispatches) {
        kernels.push_back(dispatch.kernel_name());
        for (const UsedSlice& slice : dispatch.slices()) {
            (slice.is_written ? bytes_written : bytes_read) += slice.size;
        }
    }
    std::ostringstream line;
    line << "{\"label\": " << quoted(label) << ", \"dispatches\": " << dispatches.size()
         << ", \"barriers\": " << barriers.size()
         << ", \"unneeded_barriers\": " << quoted(find_unneeded_barriers(dispatches, barriers))
         << ", \"kernels\": " << quoted(kernels) << ", \"bytes_read\": " << bytes_read
         << ", \"bytes_written\": " << bytes_written << "}";
    return line.str();
}

void append_line(const std::string& file, const std::string& line) {
    std::ofstream stream(file, std::ios::app);
    stream << line + "\n" << std::flush;
    if (!stream) {
        fail(gptoss_status_io_error, "GPTOSS_METAL_HOST_REPORT: \"", file, "\" cannot be written.");
    }
}

} // namespace gptoss::metal::host
