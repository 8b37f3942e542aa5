// Memory for rows of activations as integers, of 16 bits or of 8 (kernels.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "buffers.h"
#include "kernels.h"

namespace gptoss::cpu {

static constexpr size_t num_activation_groups(size_t row_size) {
    return (row_size + kGroupInputs - 1) / kGroupInputs;
}

class QuantizedActivations {
public:
    // Bytes that num_bytes() comes to when the largest batch has had num_rows rows.
    static size_t bytes_for(size_t num_rows, size_t row_size) {
        return num_rows * num_activation_groups(row_size) * (kGroupInputs * sizeof(int16_t) + sizeof(float));
    }
    size_t num_bytes() const { return codes_.capacity() * sizeof(int16_t) + scales_.capacity() * sizeof(float); }

    // Makes room for num_rows rows of up to row_size elements; what was there is lost.
    void begin(size_t num_rows, size_t row_size) {
        num_rows_ = num_rows;
        fit(codes_, num_rows * num_activation_groups(row_size) * kGroupInputs);
        fit(scales_, num_rows * num_activation_groups(row_size));
    }

    QuantizedRows rows() { return {.codes = codes_.data(), .scales = scales_.data(), .num_rows = num_rows_}; }

private:
    size_t num_rows_ = 0;
    std::vector<int16_t> codes_; // [groups, rows, kGroupInputs]
    std::vector<float> scales_;  // [groups, rows]
};

class Int8Activations {
public:
    size_t num_bytes() const { return groups_.capacity() * sizeof(Int8Group); }

    // As QuantizedActivations::begin.
    void begin(size_t num_rows, size_t row_size) {
        num_rows_ = num_rows;
        fit(groups_, num_rows * num_activation_groups(row_size));
    }

    Int8Rows rows() { return {.groups = groups_.data(), .num_rows = num_rows_}; }

private:
    size_t num_rows_ = 0;
    std::vector<Int8Group> groups_; // [groups, rows]
};

} // namespace gptoss::cpu
