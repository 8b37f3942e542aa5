// The experts' activation function.
#pragma once

#include <metal_stdlib>

namespace gptoss_metal {

using namespace metal;

// gate * sigmoid(1.702 gate) * (up + 1), the gate cut off above `limit` and up on both sides. The exponent is cut off,
// too, where the sigmoid is below 1e-38: a gate of -1e4 gives no infinity for fast-math to trip over.
inline float swiglu(float gate, float up, float limit) {
    gate = min(gate, limit);
    up = clamp(up, -limit, limit);
    const float exponential = precise::exp(min(-1.702f * gate, 87.0f));
    return gate / (1.0f + exponential) * (up + 1.0f);
}

} // namespace gptoss_metal
