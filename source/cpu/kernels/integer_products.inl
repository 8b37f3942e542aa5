// Products of weights of any format with quantized activations.
//
// The products of a group of 128 inputs, or of half of one where weights are dense, are summed as integers, exactly,
// and these sums, times their scales, are added in ascending order in fp32. So a value does not depend on how its
// integers were summed: few rows, where lane = input, many rows, where lane = output, and those that go through as
// bytes instead of in 16 bits all have the same bits.

namespace gptoss::cpu {
namespace {

// Calls use(output, num_outputs, row, sums) for all rows and [first, last) cut into panels of up to kIntegerPanel
// outputs; sums are the products of the row with these outputs.
template <class Weights, class Rows, class Use>
GPTOSS_INLINE void for_each_panel(const Weights& weights,
                                  const Rows& rows,
                                  size_t num_rows,
                                  size_t first,
                                  size_t last,
                                  float* sums, // [num_rows, kIntegerPanel], with room for kIntegerSumBytes
                                  const Use& use) {
    if (num_rows <= kFewRows) {
        prepare_few_rows(weights, rows, num_rows, sums);
    }
    for (size_t output = first; output < last; output += kIntegerPanel) {
        const size_t num_outputs = last - output < kIntegerPanel ? last - output : kIntegerPanel;
        switch (num_rows) {
            case 1:
                multiply_few_rows<1>(weights, output, num_outputs, rows, sums);
                break;
            case 2:
                multiply_few_rows<2>(weights, output, num_outputs, rows, sums);
                break;
            case 3:
                multiply_few_rows<3>(weights, output, num_outputs, rows, sums);
                break;
            case 4:
                multiply_few_rows<4>(weights, output, num_outputs, rows, sums);
                break;
            default:
                multiply_many_rows(weights, output, num_outputs, rows, num_rows, sums);
                break;
        }
        for (size_t row = 0; row < num_rows; row++) {
            use(output, num_outputs, row, sums + row * kIntegerPanel);
        }
    }
}

} // namespace
} // namespace gptoss::cpu
