#include "thread_pool.h"

#include <unistd.h>

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <system_error>

#include "errors.h"

namespace gptoss::cpu {

uint32_t num_available_processors() {
#if defined(__linux__)
    cpu_set_t processors;
    if (::sched_getaffinity(0, sizeof(processors), &processors) == 0) {
        return static_cast<uint32_t>(CPU_COUNT(&processors));
    }
#endif
    return std::max(1u, std::thread::hardware_concurrency());
}

ThreadPool::ThreadPool(uint32_t num_threads) : process_(::getpid()) {
    if (num_threads == 0) {
        num_threads = num_available_processors();
    }
    constexpr uint32_t kMaxThreads = 1024;
    if (num_threads > kMaxThreads) {
        fail(gptoss_status_invalid_argument, "The number of threads must be from 1 to ", kMaxThreads, ", found ",
             num_threads, ".");
    }
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
    task_ = &task;
    num_tasks_ = num_tasks;
    next_task_.store(0);
    num_busy_workers_.store(static_cast<uint32_t>(workers_.size()));
    generation_.fetch_add(1);
    generation_.notify_all();
    take_tasks(0);
    // Every worker has to leave this loop before the next one may begin.
    for (uint32_t busy = num_busy_workers_.load(); busy != 0; busy = num_busy_workers_.load()) {
        num_busy_workers_.wait(busy);
    }
}

void ThreadPool::take_tasks(uint32_t thread) {
    for (size_t index = next_task_.fetch_add(1); index < num_tasks_; index = next_task_.fetch_add(1)) {
        (*task_)(index, thread);
    }
}

void ThreadPool::work(uint32_t thread) {
    uint32_t seen = 0;
    for (;;) {
        generation_.wait(seen);
        seen = generation_.load();
        if (stopping_) {
            return;
        }
        take_tasks(thread);
        if (num_busy_workers_.fetch_sub(1) == 1) {
            num_busy_workers_.notify_one();
        }
    }
}

} // namespace gptoss::cpu
