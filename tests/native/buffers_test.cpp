#include "cpu/buffers.h"

#include <vector>

#include "check.h"

using gptoss::cpu::fit;
using gptoss::cpu::prefer_huge_pages;

TEST(a_buffer_takes_no_more_than_it_needs) {
    std::vector<float> buffer;
    for (const size_t size : {size_t{1}, size_t{1000}, size_t{1001}, size_t{3} << 20, (size_t{3} << 20) + 7}) {
        fit(buffer, size);
        CHECK_EQUAL(buffer.size(), size);
        CHECK_EQUAL(buffer.capacity(), size);
        buffer.front() = 1.0f;
        buffer.back() = 2.0f;
    }
    const float* const memory = buffer.data();
    fit(buffer, 10); // a smaller batch: the memory stays for the next one
    CHECK_EQUAL(buffer.size(), 10u);
    fit(buffer, size_t{3} << 20);
    CHECK(buffer.data() == memory);
}

TEST(a_buffer_that_grows_is_zero) {
    std::vector<float> buffer(5, 1.0f);
    fit(buffer, size_t{2} << 20);
    for (const float value : buffer) {
        if (value != 0.0f) {
            CHECK_EQUAL(value, 0.0f);
            return;
        }
    }
}

TEST(huge_pages_may_be_asked_for_anywhere) {
    std::vector<char> memory(size_t{8} << 20, 'x');
    prefer_huge_pages(nullptr, 0);
    for (const size_t offset : {size_t{0}, size_t{1}, size_t{4097}}) {
        for (const size_t size : {size_t{0}, size_t{1}, size_t{100000}, size_t{7} << 20}) {
            prefer_huge_pages(memory.data() + offset, size);
        }
    }
    for (const char value : memory) {
        if (value != 'x') {
            CHECK_EQUAL(value, 'x');
            return;
        }
    }
}
