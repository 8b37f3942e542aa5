#include <algorithm>
#include <cmath>

#include "expert_mlp.h"

namespace gptoss::cpu {

void ExpertGroups::choose(const float* logits, size_t num_rows, size_t num_experts, size_t num_active) {
    num_active_ = num_active;
    chosen_.resize(num_rows * num_active);
    weights_.resize(num_rows * num_active);
    for (size_t row = 0; row < num_rows; row++) {
        const float* const row_logits = logits + row * num_experts;
        uint32_t* const chosen = chosen_.data() + row * num_active;
        float* const weights = weights_.data() + row * num_active;
        size_t num_chosen = 0;
        for (size_t expert = 0; expert < num_experts; expert++) {
            // Behind those at least as high, so that on a tie the lowest index comes first.
            size_t place = num_chosen;
            while (place > 0 && row_logits[expert] > row_logits[chosen[place - 1]]) {
                place--;
            }
            if (place == num_active) {
                continue;
            }
            num_chosen = std::min(num_chosen + 1, num_active);
            std::copy_backward(chosen + place, chosen + num_chosen - 1, chosen + num_chosen);
            chosen[place] = static_cast<uint32_t>(expert);
        }
        float sum = 0;
        for (size_t k = 0; k < num_active; k++) {
            weights[k] = std::exp(row_logits[chosen[k]] - row_logits[chosen[0]]);
            sum += weights[k];
        }
        for (size_t k = 0; k < num_active; k++) {
            weights[k] /= sum;
        }
    }
    group(num_experts);
}

// A counting sort of the choices by expert, stable in the order of rows.
void ExpertGroups::group(size_t num_experts) {
    std::vector<uint32_t> next(num_experts + 1);
    for (const uint32_t expert : chosen_) {
        next[expert + 1]++;
    }
    groups_.clear();
    for (size_t expert = 0; expert < num_experts; expert++) {
        next[expert + 1] += next[expert];
        if (next[expert + 1] != next[expert]) {
            groups_.push_back({expert, next[expert], next[expert + 1]});
        }
    }
    assignment_of_.resize(chosen_.size());
    row_of_.resize(chosen_.size());
    for (size_t choice = 0; choice < chosen_.size(); choice++) {
        const uint32_t assignment = next[chosen_[choice]]++;
        assignment_of_[choice] = assignment;
        row_of_[assignment] = static_cast<uint32_t>(choice / num_active_);
    }
}

} // namespace gptoss::cpu
