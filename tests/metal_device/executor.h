// The host device's "GPU": a thread that runs committed command buffers in the order of their commit().
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "settings.h"

namespace gptoss::metal::host {

class HostCommandBuffer;

class Executor {
public:
    explicit Executor(const Settings& settings);

    // Runs it behind all that were submitted before. After close() it fails.
    void submit(std::shared_ptr<HostCommandBuffer> commands);

    // Runs what was submitted, but for what is simulated to hang, and joins the thread. The device's destructor calls
    // it; command buffers keep the executor itself.
    void close();

private:
    void run_thread();
    void run(HostCommandBuffer& commands);
    // Throws Error.
    void run_dispatches(const HostCommandBuffer& commands);
    void wait_until_closed();
    void append_report(const HostCommandBuffer& commands) const;

    const Settings settings_;
    uint64_t num_started_ = 0;  // command buffers; of the thread
    uint64_t num_launches_ = 0; // of the thread
    bool is_hung_ = false;      // of the thread: nothing runs any more

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::shared_ptr<HostCommandBuffer>> queue_;
    bool is_closed_ = false;
    std::thread thread_;
};

} // namespace gptoss::metal::host
