#include "expert_twins.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "numbers.h"

namespace gptoss::metal {

namespace {

constexpr size_t kCodeBytes = kMxfp4BlockSize / 2;

// Fills one matrix of one expert: codes, scale bytes and bias at their places, and their values.
void fill_matrix(Random& random,
                 std::byte* expert,
                 const TensorPlace& blocks,
                 const TensorPlace& scales,
                 const TensorPlace& bias,
                 const ScaleByte& scale_byte,
                 double bias_scale,
                 ExpertMatrix& matrix) {
    const size_t num_blocks = matrix.num_inputs / kMxfp4BlockSize;
    for (size_t row = 0; row < matrix.num_outputs; row++) {
        for (size_t block = 0; block < num_blocks; block++) {
            const size_t index = row * num_blocks + block;
            const uint8_t byte = scale_byte(row);
            expert[scales.offset + index] = std::byte{byte};
            const double scale = std::ldexp(1.0, byte - kMxfp4StoredScaleOffset - 127);
            for (size_t i = 0; i < kCodeBytes; i++) {
                const uint32_t codes = random.below(256);
                expert[blocks.offset + index * kCodeBytes + i] = static_cast<std::byte>(codes);
                matrix.weights.push_back(mxfp4_code_to_float(codes & 15) * scale); // the low nibble is the even weight
                matrix.weights.push_back(mxfp4_code_to_float(codes >> 4) * scale);
            }
        }
        const Bf16 value = from_double<Bf16>(random.normal() * bias_scale);
        std::memcpy(expert + bias.offset + row * sizeof(value), &value, sizeof(value));
        matrix.bias.push_back(to_double(value));
    }
}

// The byte with which `num_inputs` random codes and normal activations make a sum of about 1.
uint8_t usual_scale_byte(Random& random, size_t num_inputs) {
    const int centre = 127 + kMxfp4StoredScaleOffset - 1 - static_cast<int>(std::log2(num_inputs) / 2);
    return static_cast<uint8_t>(centre - 2 + static_cast<int>(random.below(4)));
}

// matrix[expert] . input + bias; input [num_inputs] -> [num_outputs]
std::vector<double> multiply(const ExpertMatrix& matrix, size_t expert, const double* input) {
    std::vector<double> output(matrix.num_outputs);
    for (size_t row = 0; row < matrix.num_outputs; row++) {
        const double* const weights = &matrix.weights[(expert * matrix.num_outputs + row) * matrix.num_inputs];
        output[row] = std::inner_product(weights, weights + matrix.num_inputs, input,
                                         matrix.bias[expert * matrix.num_outputs + row]);
    }
    return output;
}

} // namespace

Experts random_experts(Random& random, const ModelConfig& config, const ScaleByte& down_scale) {
    const size_t hidden_size = config.embedding_dim;
    const size_t width = config.mlp_dim;
    Experts experts;
    experts.gate_up = {2 * width, hidden_size, {}, {}};
    experts.down = {hidden_size, width, {}, {}};

    uint64_t end = 0;
    const auto place = [&end](uint64_t num_bytes) {
        const TensorPlace result = {end, num_bytes};
        end = (end + num_bytes + 15) / 16 * 16;
        return result;
    };
    ExpertPlaces& places = experts.place;
    places.mlp1_blocks = place(width * hidden_size);
    places.mlp1_scales = place(2 * width * hidden_size / kMxfp4BlockSize);
    places.mlp1_bias = place(2 * width * sizeof(Bf16));
    places.mlp2_blocks = place(width * hidden_size / 2);
    places.mlp2_scales = place(width * hidden_size / kMxfp4BlockSize);
    places.mlp2_bias = place(hidden_size * sizeof(Bf16));
    places.num_bytes = places.mlp2_bias.offset + places.mlp2_bias.num_bytes;
    places.stride = end;

    experts.bytes.resize((config.num_experts - 1) * places.stride + places.num_bytes);
    for (size_t expert = 0; expert < config.num_experts; expert++) {
        std::byte* const start = experts.bytes.data() + expert * places.stride;
        const ScaleByte gate_up_scale = [&](size_t) {
            return random.below(200) == 0 ? static_cast<uint8_t>(random.below(2))
                                          : usual_scale_byte(random, hidden_size);
        };
        fill_matrix(random, start, places.mlp1_blocks, places.mlp1_scales, places.mlp1_bias, gate_up_scale, 0.5,
                    experts.gate_up);
        const ScaleByte usual_down_scale = [&](size_t) { return usual_scale_byte(random, width); };
        fill_matrix(random, start, places.mlp2_blocks, places.mlp2_scales, places.mlp2_bias,
                    down_scale ? down_scale : usual_down_scale, down_scale ? 0 : 0.5, experts.down);
    }
    return experts;
}

RoutingCase random_routing(Random& random, size_t num_rows, size_t num_experts, size_t num_active) {
    RoutingCase routing = {num_active, {}, {}};
    for (size_t row = 0; row < num_rows; row++) {
        std::vector<uint32_t> order(num_experts);
        std::iota(order.begin(), order.end(), 0u);
        std::vector<double> weights;
        for (size_t slot = 0; slot < num_active; slot++) {
            std::swap(order[slot], order[slot + random.below(static_cast<uint32_t>(num_experts - slot))]);
            routing.experts.push_back(order[slot]);
            weights.push_back(random.uniform(0.1, 1));
        }
        const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
        for (const double weight : weights) {
            routing.weights.push_back(static_cast<float>(weight / sum));
        }
    }
    return routing;
}

SortedPairs sort_pairs(const std::vector<uint32_t>& experts, size_t num_experts, size_t tile_rows, size_t num_tiles) {
    SortedPairs sorted;
    for (uint32_t expert = 0; expert < num_experts; expert++) {
        const uint32_t first = static_cast<uint32_t>(sorted.permutation.size());
        sorted.offsets.push_back(first);
        for (uint32_t pair = 0; pair < experts.size(); pair++) {
            if (experts[pair] == expert) {
                sorted.permutation.push_back(pair);
            }
        }
        const uint32_t end = static_cast<uint32_t>(sorted.permutation.size());
        for (uint32_t tile = first; tile < end; tile += static_cast<uint32_t>(tile_rows)) {
            sorted.tiles.insert(sorted.tiles.end(),
                                {expert, tile, std::min(static_cast<uint32_t>(tile_rows), end - tile)});
        }
    }
    sorted.offsets.push_back(static_cast<uint32_t>(experts.size()));
    sorted.tiles.resize(3 * num_tiles, 0);
    return sorted;
}

std::vector<double> gate_up(const Experts& experts,
                            const RoutingCase& routing,
                            const std::vector<double>& input,
                            double limit) {
    std::vector<double> hidden;
    for (size_t pair = 0; pair < routing.experts.size(); pair++) {
        const double* const row = &input[pair / routing.num_active * experts.gate_up.num_inputs];
        const std::vector<double> products = multiply(experts.gate_up, routing.experts[pair], row);
        for (size_t i = 0; i < products.size(); i += 2) {
            const double gate = std::min(products[i], limit);
            const double up = std::clamp(products[i + 1], -limit, limit);
            hidden.push_back(gate / (1 + std::exp(-1.702 * gate)) * (up + 1));
        }
    }
    return hidden;
}

std::vector<double> down(const Experts& experts, const RoutingCase& routing, const std::vector<double>& hidden) {
    std::vector<double> outputs;
    for (size_t pair = 0; pair < routing.experts.size(); pair++) {
        const double* const row = &hidden[pair * experts.down.num_inputs];
        for (const double product : multiply(experts.down, routing.experts[pair], row)) {
            outputs.push_back(routing.weights[pair] * product);
        }
    }
    return outputs;
}

std::vector<double> add_outputs(const std::vector<double>& residual,
                                const std::vector<double>& outputs,
                                size_t num_active,
                                size_t num_columns) {
    std::vector<double> sums = residual;
    for (size_t i = 0; i < outputs.size(); i++) {
        const size_t row = i / num_columns / num_active;
        sums[row * num_columns + i % num_columns] += outputs[i];
    }
    return sums;
}

} // namespace gptoss::metal
