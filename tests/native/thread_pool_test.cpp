#include "cpu/thread_pool.h"

#include <atomic>
#include <thread>
#include <vector>

#include "check.h"

using gptoss::cpu::ThreadPool;

namespace {

// Runs a loop that counts its tasks, and checks that each ran once.
void check_every_task_runs_once(ThreadPool& pool, size_t num_tasks) {
    std::vector<std::atomic<int>> runs(num_tasks);
    pool.run(num_tasks, [&](size_t index, uint32_t thread) {
        CHECK(index < num_tasks);
        CHECK(thread < pool.num_threads());
        runs[index]++;
    });
    for (const std::atomic<int>& count : runs) {
        CHECK_EQUAL(count.load(), 1);
    }
}

} // namespace

TEST(every_task_runs_once_for_any_number_of_threads_and_tasks) {
    for (const uint32_t num_threads : {1u, 2u, 3u, 8u}) {
        ThreadPool pool(num_threads);
        CHECK_EQUAL(pool.num_threads(), num_threads);
        for (const size_t num_tasks : {0, 1, 2, 3, 7, 8, 9, 1000}) {
            check_every_task_runs_once(pool, num_tasks);
        }
    }
}

TEST(results_of_a_loop_are_visible_after_it_and_in_the_next_one) {
    // Thousands of short loops in a row: a worker that is late for one loop must not run into the next.
    ThreadPool pool(4);
    std::vector<uint64_t> values(64, 1); // written without atomics: run() is the only synchronisation
    constexpr int kNumLoops = 5000;
    for (int loop = 0; loop < kNumLoops; loop++) {
        pool.run(values.size(), [&](size_t index, uint32_t) { values[index] += index; });
    }
    for (size_t index = 0; index < values.size(); index++) {
        CHECK_EQUAL(values[index], 1 + kNumLoops * index);
    }
}

TEST(no_thread_number_is_used_twice_at_a_time) {
    ThreadPool pool(4);
    std::vector<uint64_t> sums(pool.num_threads()); // scratch memory of each thread, as kernels use it
    pool.run(10000, [&](size_t index, uint32_t thread) { sums[thread] += index; });
    uint64_t total = 0;
    for (const uint64_t sum : sums) {
        total += sum;
    }
    CHECK_EQUAL(total, 10000u * 9999u / 2);
}

TEST(a_pool_of_one_stays_in_the_callers_thread) {
    ThreadPool pool(1);
    const std::thread::id caller = std::this_thread::get_id();
    pool.run(100, [&](size_t, uint32_t thread) {
        CHECK_EQUAL(thread, 0u);
        CHECK(std::this_thread::get_id() == caller);
    });
}

TEST(zero_threads_means_one_per_processor) {
    ThreadPool pool(0);
    CHECK(pool.num_threads() >= 1);
    check_every_task_runs_once(pool, 100);
}

TEST(too_many_threads_are_refused) {
    CHECK_FAILS(gptoss_status_invalid_argument, "from 1 to 1024, found 5000", ThreadPool(5000));
}

TEST(pools_can_be_created_and_destroyed_without_work) {
    for (int i = 0; i < 200; i++) {
        ThreadPool pool(3);
    }
}

TEST(pools_in_different_threads_do_not_disturb_each_other) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; i++) {
        threads.emplace_back([] {
            ThreadPool pool(2);
            for (int loop = 0; loop < 200; loop++) {
                check_every_task_runs_once(pool, 16);
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}
