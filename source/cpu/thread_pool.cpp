#include "thread_pool.h"

#include <unistd.h>

#include <chrono>
#include <system_error>

#include "errors.h"
#include "thread_count.h"

namespace gptoss::cpu {

namespace {

// Longer than the gap between two loops of a forward pass, and a little longer than it takes to wake a thread, so that
// waiting busily never costs much more than sleeping would have.
constexpr std::chrono::microseconds kSpinTime(50);

// Lets the other thread of a core work, and saves energy.
void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb"); // `yield` does nothing on most of these processors
#endif
}

constexpr uint64_t pack(uint64_t next, uint64_t end) {
    return next | end << 32;
}

constexpr uint32_t next_of(uint64_t bounds) {
    return static_cast<uint32_t>(bounds);
}

constexpr uint32_t end_of(uint64_t bounds) {
    return static_cast<uint32_t>(bounds >> 32);
}

} // namespace

ThreadPool::ThreadPool(uint32_t num_threads)
    : process_(::getpid()),
      ranges_(choose_num_threads(num_threads)),
      // Without a processor for each thread, a thread that waits busily keeps the one it waits for from running.
      spins_(ranges_.size() <= num_usable_processors()) {
    num_threads = static_cast<uint32_t>(ranges_.size());
    workers_.reserve(num_threads - 1);
    try {
        for (uint32_t thread = 1; thread < num_threads; thread++) {
            workers_.emplace_back([this, thread] { work(thread); });
        }
    } catch (const std::system_error& error) {
        const size_t started = workers_.size() + 1;
        stop();
        fail(gptoss_status_insufficient_resources, "Only ", started, " of ", num_threads, " threads could be started (",
             error.what(), "): ask for fewer threads.");
    }
}

ThreadPool::~ThreadPool() {
    stop();
}

void ThreadPool::stop() {
    if (::getpid() != process_) {
        for (std::thread& worker : workers_) {
            worker.detach(); // there is nothing to join in a forked process
        }
        return;
    }
    stopping_ = true;
    generation_.fetch_add(1);
    generation_.notify_all();
    for (std::thread& worker : workers_) {
        worker.join();
    }
    workers_.clear();
}

void ThreadPool::run(size_t num_tasks, size_t operations_per_task, const Task& task) {
    // To wake the others for less takes as long, and on a busy machine, where each loop would have to wait for its
    // slowest thread to be scheduled, much longer.
    constexpr size_t kSmallLoop = size_t{1} << 18;
    if (num_tasks * operations_per_task >= kSmallLoop) {
        run(num_tasks, task);
        return;
    }
    for (size_t index = 0; index < num_tasks; index++) {
        task(index, 0);
    }
}

void ThreadPool::run(size_t num_tasks, const Task& task) {
    if (workers_.empty() || num_tasks <= 1) {
        for (size_t index = 0; index < num_tasks; index++) {
            task(index, 0);
        }
        return;
    }
    if (::getpid() != process_) {
        fail(gptoss_status_invalid_state,
             "The model was loaded before this process was forked, and its threads did not come along: load it after "
             "the fork, or start processes with 'spawn'.");
    }
    if (num_tasks > UINT32_MAX) {
        fail(gptoss_status_internal_error, "A loop may have ", UINT32_MAX, " tasks at most, found ", num_tasks, ".");
    }
    task_ = &task;
    for (size_t thread = 0; thread < ranges_.size(); thread++) {
        ranges_[thread].bounds.store(
            pack(num_tasks * thread / ranges_.size(), num_tasks * (thread + 1) / ranges_.size()),
            std::memory_order_relaxed);
    }
    joined_.store(kOpen);
    generation_.fetch_add(1);
    if (num_sleeping_.load() != 0) {
        generation_.notify_all();
    }
    take_tasks(0);
    // Nothing is left to take. Those who have joined may still be at their last tasks; nobody else may begin now.
    joined_.fetch_and(~kOpen);
    if (!spin_until([this] { return joined_.load() == 0; })) {
        for (uint32_t joined = joined_.load(); joined != 0; joined = joined_.load()) {
            joined_.wait(joined);
        }
    }
}

void ThreadPool::take_tasks(uint32_t thread) {
    std::atomic<uint64_t>& own = ranges_[thread].bounds;
    do {
        uint64_t bounds = own.load();
        while (next_of(bounds) < end_of(bounds)) {
            if (own.compare_exchange_weak(bounds, bounds + 1)) {
                (*task_)(next_of(bounds), thread);
                bounds = own.load();
            }
        }
    } while (steal(thread));
}

// Moves the second half of what the next thread with tasks has left into this thread's own, empty range.
bool ThreadPool::steal(uint32_t thread) {
    const size_t num_threads = ranges_.size();
    for (size_t distance = 1; distance < num_threads; distance++) {
        std::atomic<uint64_t>& other = ranges_[(thread + distance) % num_threads].bounds;
        uint64_t bounds = other.load();
        while (next_of(bounds) < end_of(bounds)) {
            const uint32_t next = next_of(bounds);
            const uint32_t end = end_of(bounds);
            const uint32_t middle = next + (end - next) / 2;
            if (other.compare_exchange_weak(bounds, pack(next, middle))) {
                ranges_[thread].bounds.store(pack(middle, end));
                return true;
            }
        }
    }
    return false;
}

bool ThreadPool::join_loop() {
    uint32_t joined = joined_.load();
    while ((joined & kOpen) != 0) {
        if (joined_.compare_exchange_weak(joined, joined + 1)) {
            return true;
        }
    }
    return false;
}

void ThreadPool::leave_loop() {
    if (joined_.fetch_sub(1) == 1) {
        joined_.notify_one();
    }
}

void ThreadPool::work(uint32_t thread) {
    uint32_t seen = 0;
    for (;;) {
        const auto is_new = [&] { return generation_.load() != seen; };
        if (!spin_until(is_new)) {
            num_sleeping_.fetch_add(1);
            generation_.wait(seen); // returns at once if it has changed since
            num_sleeping_.fetch_sub(1);
        }
        seen = generation_.load();
        if (stopping_) {
            return;
        }
        if (join_loop()) {
            take_tasks(thread);
            leave_loop();
        }
    }
}

// Waits busily until the condition holds; false if it does not before the time is up.
template <class Condition>
bool ThreadPool::spin_until(const Condition& condition) const {
    if (!spins_) {
        return condition();
    }
    const auto start = std::chrono::steady_clock::now();
    do {
        for (int i = 0; i < 16; i++) {
            if (condition()) {
                return true;
            }
            pause();
        }
    } while (std::chrono::steady_clock::now() - start < kSpinTime);
    return condition();
}

} // namespace gptoss::cpu
