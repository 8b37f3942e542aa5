// The threads of the CPU backend.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <vector>

#include <sys/types.h>

namespace gptoss::cpu {

// Runs loops over independent tasks. The calling thread works too, so a pool of one starts no thread. One loop at a
// time: run() must not be called from two threads at once, nor from within a task.
//
// A loop's tasks are cut into one contiguous range for each thread, so that tasks which read neighbouring weights make
// one stream of them, in ascending order. A thread that has finished its range takes the second half of what another
// one has left. Between two loops a thread waits busily for some tens of microseconds and then sleeps; a loop never
// waits for a thread that has not woken up yet.
class ThreadPool {
public:
    // 0: as many as choose_num_threads (thread_count.h) says. Fails with insufficient_resources.
    explicit ThreadPool(uint32_t num_threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    uint32_t num_threads() const { return static_cast<uint32_t>(workers_.size()) + 1; }

    // Refers to a callable, as a parameter does, and allocates nothing: the callable has to outlive it.
    class Task {
    public:
        template <class Callable>
            requires(!std::same_as<Callable, Task> && std::is_invocable_v<const Callable&, size_t, uint32_t>)
        Task(const Callable& callable) // NOLINT(google-explicit-constructor): so that run() takes a lambda
            : callable_(&callable), call_([](const void* target, size_t index, uint32_t thread) {
                  (*static_cast<const Callable*>(target))(index, thread);
              }) {}

        void operator()(size_t index, uint32_t thread) const { call_(callable_, index, thread); }

    private:
        const void* callable_;
        void (*call_)(const void* target, size_t index, uint32_t thread);
    };

    // Calls task(index, thread) for every index in [0, num_tasks), each once, and returns when all are done; thread is
    // in [0, num_threads()). Which thread takes which task is not determined, so a task's result must not depend on
    // it. Tasks must not throw; there must be fewer than 2^32. Fails with invalid_state in a forked process, which has
    // none of the threads.
    void run(size_t num_tasks, const Task& task);
    // The same for tasks of about so many multiply-adds: a small loop runs in the calling thread.
    void run(size_t num_tasks, size_t operations_per_task, const Task& task);

private:
    // The tasks that a thread has left, in a cache line of its own. The owner takes the first one, thieves the last
    // ones. One number, so that a compare-and-swap takes tasks: the same number always means the same tasks.
    struct alignas(64) Range {
        std::atomic<uint64_t> bounds = 0; // next task | end << 32
    };

    void work(uint32_t thread);
    bool join_loop();
    void leave_loop();
    void take_tasks(uint32_t thread);
    bool steal(uint32_t thread);
    void stop();
    template <class Condition>
    bool spin_until(const Condition& condition) const;

    const pid_t process_;
    std::vector<Range> ranges_; // [threads], of the loop that is running; written before it is opened, like task_
    const Task* task_ = nullptr;
    const bool spins_;
    std::vector<std::thread> workers_;

    // kOpen while workers may join the loop, plus the number of those who have joined and not left.
    static constexpr uint32_t kOpen = 1u << 31;
    alignas(64) std::atomic<uint32_t> joined_ = 0;
    alignas(64) std::atomic<uint32_t> generation_ = 0; // of the loop; workers wait for it to change
    std::atomic<uint32_t> num_sleeping_ = 0;           // workers that a new generation has to wake
    std::atomic<bool> stopping_ = false;
};

} // namespace gptoss::cpu
