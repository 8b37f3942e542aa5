// Which experts rows go to, and how rows are grouped by expert.
#include <cmath>
#include <limits>

#include "check.h"
#include "cpu/expert_mlp.h"
#include "kernel_test_data.h"

using namespace gptoss::cpu;

TEST(the_highest_logits_are_chosen_and_the_lowest_index_on_a_tie) {
    const std::vector<float> logits = {1, 3, 3, 2, 3, //
                                       0, 0, 0, 0, 0};
    ExpertGroups groups;
    groups.choose(logits.data(), 2, 5, 2);
    CHECK_EQUAL(groups.num_assignments(), size_t{4});
    CHECK_EQUAL(groups.groups().size(), size_t{3});
    const size_t experts[] = {0, 1, 2};
    const size_t ends[] = {1, 3, 4};
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQUAL(groups.groups()[i].expert, experts[i]);
        CHECK_EQUAL(groups.groups()[i].end, ends[i]);
    }
    CHECK_EQUAL(groups.rows()[0], uint32_t{1}); // expert 0
    CHECK_EQUAL(groups.rows()[1], uint32_t{0}); // expert 1: rows in order
    CHECK_EQUAL(groups.rows()[2], uint32_t{1});
    CHECK_EQUAL(groups.rows()[3], uint32_t{0}); // expert 2
}

TEST(weights_are_the_softmax_of_the_chosen_logits) {
    const std::vector<float> logits = {-1000, 0.5f, 2, 100, -3};
    ExpertGroups groups;
    groups.choose(logits.data() + 1, 1, 2, 2);
    const double sum = std::exp(0.5) + std::exp(2.0);
    CHECK_CLOSE(groups.weights_of(0)[0], std::exp(2.0) / sum, 1e-6);
    CHECK_CLOSE(groups.weights_of(0)[1], std::exp(0.5) / sum, 1e-6);
    groups.choose(logits.data(), 1, 5, 3);
    CHECK_EQUAL(groups.weights_of(0)[0], 1.0f);
    CHECK_CLOSE(groups.weights_of(0)[1], 0.0, 1e-30);
}

TEST(every_choice_is_in_the_group_of_its_expert) {
    for (const size_t num_rows : {1, 7, 300}) {
        const std::vector<float> logits = random_floats(num_rows * 32);
        ExpertGroups groups;
        groups.choose(logits.data(), num_rows, 32, 4);
        std::vector<size_t> expert_of(num_rows * 4);
        size_t end = 0;
        for (const ExpertGroups::Group& group : groups.groups()) {
            CHECK_EQUAL(group.begin, end);
            CHECK(group.end > group.begin);
            end = group.end;
            for (size_t assignment = group.begin; assignment < group.end; assignment++) {
                expert_of[assignment] = group.expert;
            }
        }
        CHECK_EQUAL(end, num_rows * 4);
        for (size_t row = 0; row < num_rows; row++) {
            float previous = std::numeric_limits<float>::infinity();
            for (size_t k = 0; k < 4; k++) {
                const uint32_t assignment = groups.assignments_of(row)[k];
                CHECK_EQUAL(groups.rows()[assignment], row);
                const float logit = logits[row * 32 + expert_of[assignment]];
                CHECK(logit <= previous); // descending logits
                previous = logit;
            }
        }
    }
}
