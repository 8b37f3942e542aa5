// The experts' activation function.
#pragma once

#include <metal_stdlib>

namespace gptoss_metal {

using namespace metal;

// gate * sigmoid(1.702 gate) * (up + 1), the gate cut off above `limit` and up on both sides. A gate is also cut off at
// -51, from where the function is below 1e-36: so the exponential stays finite, and fast-math meets no infinity.
inline float swiglu(float gate, float up, float limit) {
    gate = clamp(gate, -51.0f, limit);
    up = clamp(up, -limit, limit);
    return gate / (1.0f + precise::exp(-1.702f * gate)) * (up + 1.0f);
}

} // namespace gptoss_metal
