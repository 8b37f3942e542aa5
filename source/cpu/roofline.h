// What this machine can do at best, for comparison with what an engine does: gptoss_model_measure_roofline.
#pragma once

#include <cstddef>
#include <span>

#include "gptoss.h"
#include "kernels.h"
#include "thread_pool.h"

namespace gptoss::cpu {

// Measures for about `seconds`. `mapped` are the bytes of a model file; they count only if they are much more than
// caches hold. Takes up to 1 GiB of memory while it lasts; fails with bad_alloc where there is none.
gptoss_roofline measure_roofline(ThreadPool& pool,
                                 const Kernels& kernels,
                                 std::span<const std::byte> mapped,
                                 double seconds);

} // namespace gptoss::cpu
