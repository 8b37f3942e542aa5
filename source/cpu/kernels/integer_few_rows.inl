// Integer products of few rows, lane = input: an output's weights are multiplied as they lie in the file.

namespace gptoss::cpu {
namespace {

// sums[row][lane] = weights[output + lane] . rows[row] for kRows rows and kOutputLanes outputs at once.
template <size_t kRows>
GPTOSS_INLINE void multiply_lanes(const Mxfp4Integers& weights, size_t output, const RowsOfGroups& rows, float* sums) {
    LaneFloats totals[kRows] = {};
    LaneWords scale_bytes[4];
    for_each_group(weights.num_inputs / 32, [&](size_t group, size_t num_blocks) GPTOSS_INLINE_LAMBDA {
        if (group % 4 == 0) {
            weights.load_scales(output, group, scale_bytes);
        }
        const int16_t* inputs[kRows];
        rows.inputs(group, inputs);
        LaneWords dots[kRows];
        const LaneFloats scales =
            weights.multiply_rows(output, group, num_blocks, scale_bytes[group % 4], inputs, dots);
        for (size_t row = 0; row < kRows; row++) {
            totals[row] = add_scaled(totals[row], (LaneInts)dots[row], scales * rows.scale(group, row));
        }
    });
    for (size_t row = 0; row < kRows; row++) {
        store(sums + row * kIntegerPanel, totals[row]);
    }
}

// Four outputs after four: their rows are long.
template <size_t kRows, class Source>
GPTOSS_INLINE void multiply_lanes(const DenseIntegers<Source>& weights,
                                  size_t output,
                                  const RowsOfGroups& rows,
                                  float* sums) {
    for (size_t four = 0; four < kOutputLanes; four += 4) {
        LaneFloats totals[kRows] = {};
        for_each_group(weights.num_inputs / 32, [&](size_t group, size_t num_blocks) GPTOSS_INLINE_LAMBDA {
            const int16_t* inputs[kRows];
            rows.inputs(group, inputs);
            typename Source::Group integers;
            weights.prepare(output + four, group, num_blocks, integers);
            const size_t ahead = weights.ahead(output + four, group);
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++) {
                weights.source.prefetch(ahead + i * weights.num_inputs);
            }
            constexpr size_t kSumInputs = kSumClasses<CodeOrder::natural> * kClassInputs;
#pragma GCC unroll 4
            for (size_t first = 0; first < num_blocks * 32; first += kSumInputs) {
                const size_t left = num_blocks * 32 - first;
                const size_t last = first + (left < kSumInputs ? left : kSumInputs);
                LaneWords pairs[kRows][2];
#pragma GCC unroll 2
                for (size_t pair = 0; pair < 2; pair++) { // of outputs, so that activations are loaded half as often
                    PairSums pair_sums[kRows][2] = {};
#pragma GCC unroll 16
                    for (size_t input = first; input < last; input += kRegisterInputs) {
                        const LaneShorts even = weights.source.integers(integers, 2 * pair, input);
                        const LaneShorts odd = weights.source.integers(integers, 2 * pair + 1, input);
                        for (size_t row = 0; row < kRows; row++) {
                            const LaneShorts activations = load<LaneShorts>(inputs[row] + input);
                            pair_sums[row][0] = add_pair_products(pair_sums[row][0], even, activations);
                            pair_sums[row][1] = add_pair_products(pair_sums[row][1], odd, activations);
                            add_now(pair_sums[row][0]);
                            add_now(pair_sums[row][1]);
                        }
                    }
                    for (size_t row = 0; row < kRows; row++) {
                        pairs[row][pair] = combine_pair((LaneWords)sum_of_pairs(pair_sums[row][0]),
                                                        (LaneWords)sum_of_pairs(pair_sums[row][1]), AddLanes{});
                    }
                }
                for (size_t row = 0; row < kRows; row++) {
                    const LaneWords dot =
                        combine_all_quarters(combine_pairs(pairs[row][0], pairs[row][1], AddLanes{}), AddLanes{});
                    totals[row] = add_scaled(totals[row], (LaneInts)dot, integers.scales * rows.scale(group, row));
                }
            }
        });
        for (size_t row = 0; row < kRows; row++) {
            memcpy(sums + row * kIntegerPanel + four, &totals[row], 16);
        }
    }
}

template <class Weights, class Rows>
GPTOSS_INLINE void prepare_few_rows(const Weights&, const Rows&, size_t, float*) {}

template <size_t kRows, class Weights>
static void multiply_few_rows(
    const Weights& weights, size_t output, size_t num_outputs, const RowsOfGroups& rows, float* sums) {
    for (size_t i = 0; i < num_outputs; i += kOutputLanes) {
        multiply_lanes<kRows>(weights, output + i, rows, sums + i);
    }
}

} // namespace
} // namespace gptoss::cpu
