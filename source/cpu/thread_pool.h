// The threads of the CPU backend.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include <sys/types.h>

namespace gptoss::cpu {

// Processors that this process may run on, which can be fewer than the machine has (taskset, containers).
uint32_t num_available_processors();

// Runs loops over independent tasks. The calling thread works too, so a pool of one starts no thread. Idle threads
// sleep. One loop at a time: run() must not be called from two threads at once, nor from within a task.
class ThreadPool {
public:
    // 0: one thread per processor that this process may use. Fails with insufficient_resources.
    explicit ThreadPool(uint32_t num_threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    uint32_t num_threads() const { return static_cast<uint32_t>(workers_.size()) + 1; }

    // Calls task(index, thread) for every index in [0, num_tasks), each once, and returns when all are done; thread is
    // in [0, num_threads()). Which thread takes which task is not determined, so a task's result must not depend on
    // it. Tasks must not throw. Fails with invalid_state in a forked process, which has none of the threads.
    using Task = std::function<void(size_t index, uint32_t thread)>;
    void run(size_t num_tasks, const Task& task);

private:
    void work(uint32_t thread);
    void take_tasks(uint32_t thread);
    void stop();

    const pid_t process_;
    std::vector<std::thread> workers_;

    // The loop that is running; written before generation_ is raised.
    const Task* task_ = nullptr;
    size_t num_tasks_ = 0;
    std::atomic<size_t> next_task_ = 0;
    std::atomic<uint32_t> num_busy_workers_ = 0;
    std::atomic<uint32_t> generation_ = 0; // of the loop; workers wait for it to change
    bool stopping_ = false;
};

} // namespace gptoss::cpu
