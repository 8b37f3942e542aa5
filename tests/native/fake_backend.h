// A backend without arithmetic, for tests of what contexts ask of one: its logits are a hash of the tokens whose keys
// and values the storage holds, so that a wrong position, a stale slot or a missing token changes them.
//
// It samples, too, with a queue as a GPU has: what is submitted runs at once, or only when somebody waits. It notes
// what it is asked for, and complains about what no backend may be asked.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend.h"
#include "model.h"

namespace fake {

constexpr uint32_t kVocabularySize = 263; // of builder::byte_vocabulary()
constexpr size_t kWindow = 8;             // of builder::small_config()

// Between a test and its backend.
struct Controls {
    bool samples = true;       // start_stream() gives a stream
    bool runs_at_once = false; // what is submitted; else it runs when somebody waits

    // The n-th from now on fails; 0: none.
    size_t failing_start = 0;
    size_t failing_submission = 0;
    size_t failing_pass = 0; // of a stream, half way
    size_t failing_batch = 0;
    bool damaged = false; // logits are not numbers

    std::vector<std::string> events;     // "start 5", "submit 5", "read 5", "end": of streams, with positions
    std::vector<std::string> complaints; // empty if all is well
    size_t num_rows_processed = 0;       // of batches
};

// A model with this backend.
std::shared_ptr<const gptoss::Model> make_model(const std::shared_ptr<Controls>& controls);

gptoss_sampling_options default_options();

// `count` tokens, different for each seed.
std::vector<uint32_t> some_tokens(size_t count, uint32_t seed = 1);

} // namespace fake
