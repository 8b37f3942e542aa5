#include "cpu/thread_pool.h"

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "check.h"
#include "cpu/thread_count.h"

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

TEST(a_thread_that_is_held_up_loses_its_other_tasks_to_the_rest) {
    // Whichever task waits for all others: they are taken from the thread that is at it.
    for (const uint32_t num_threads : {2u, 3u, 8u}) {
        ThreadPool pool(num_threads);
        constexpr size_t kNumTasks = 40;
        for (size_t waiting = 0; waiting < kNumTasks; waiting++) {
            std::atomic<size_t> num_others = 0;
            pool.run(kNumTasks, [&](size_t index, uint32_t) {
                if (index != waiting) {
                    num_others++;
                    return;
                }
                while (num_others.load() != kNumTasks - 1) {
                    std::this_thread::yield();
                }
            });
            CHECK_EQUAL(num_others.load(), kNumTasks - 1);
        }
    }
}

TEST(a_thread_takes_neighbouring_tasks_in_ascending_order) {
    ThreadPool pool(2);
    std::vector<size_t> order;
    std::atomic<bool> other_is_held_up = false;
    std::atomic<bool> rest_is_done = false;
    pool.run(100, [&](size_t index, uint32_t) {
        // The second half is one thread's, which waits at its first task until the other one has done all the rest.
        if (index == 50) {
            other_is_held_up = true;
            while (!rest_is_done.load()) {
                std::this_thread::yield();
            }
            return;
        }
        while (!other_is_held_up.load()) {
            std::this_thread::yield();
        }
        order.push_back(index); // no lock: the other thread does not come here
        rest_is_done = order.size() == 99;
    });
    CHECK_EQUAL(order.size(), 99u);
    for (size_t i = 0; i < 50; i++) {
        CHECK_EQUAL(order[i], i);
    }
}

TEST(a_task_may_be_any_callable) {
    ThreadPool pool(2);
    std::atomic<size_t> sum = 0;
    const std::function<void(size_t, uint32_t)> function = [&](size_t index, uint32_t) { sum += index; };
    pool.run(10, function);
    const ThreadPool::Task task = function;
    pool.run(10, task);
    CHECK_EQUAL(sum.load(), 90u);
}

TEST(a_loop_of_too_many_tasks_is_refused) {
    ThreadPool pool(2);
    CHECK_FAILS(gptoss_status_internal_error, "4294967295 tasks at most",
                pool.run(size_t{1} << 32, [](size_t, uint32_t) {}));
}

TEST(a_pool_of_one_stays_in_the_callers_thread) {
    ThreadPool pool(1);
    const std::thread::id caller = std::this_thread::get_id();
    pool.run(100, [&](size_t, uint32_t thread) {
        CHECK_EQUAL(thread, 0u);
        CHECK(std::this_thread::get_id() == caller);
    });
}

TEST(zero_threads_means_as_many_as_are_available) {
    ThreadPool pool(0);
    CHECK_EQUAL(pool.num_threads(), gptoss::cpu::choose_num_threads(0));
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
