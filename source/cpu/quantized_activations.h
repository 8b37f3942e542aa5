// Memory for rows of activations as integers (kernels.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "buffers.h"
#include "kernels.h"

namespace gptoss::cpu {

class QuantizedActivations {
public:
    static size_t num_groups(size_t row_size) { return (row_size + kGroupInputs - 1) / kGroupInputs; }

    // Bytes that num_bytes() comes to when the largest batch has had num_rows rows.
    static size_t bytes_for(size_t num_rows, size_t row_size) {
        return num_rows * num_groups(row_size) * (kGroupInputs * sizeof(int16_t) + sizeof(float));
    }
    size_t num_bytes() const { return codes_.capacity() * sizeof(int16_t) + scales_.capacity() * sizeof(float); }

    // Makes room for num_rows rows of up to row_size elements; what was there is lost.
    void begin(size_t num_rows, size_t row_size) {
        num_rows_ = num_rows;
        fit(codes_, num_rows * num_groups(row_size) * kGroupInputs);
        fit(scales_, num_rows * num_groups(row_size));
    }

    QuantizedRows rows() { return {.codes = codes_.data(), .scales = scales_.data(), .num_rows = num_rows_}; }

private:
    size_t num_rows_ = 0;
    std::vector<int16_t> codes_; // [groups, rows, kGroupInputs]
    std::vector<float> scales_;  // [groups, rows]
};

} // namespace gptoss::cpu
