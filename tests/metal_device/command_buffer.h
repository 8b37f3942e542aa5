// A command buffer of the host device: encoded by its caller, run by the device's thread (executor.h).
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "dispatch.h"
#include "gptoss.h"
#include "metal/device.h"

namespace gptoss::metal::host {

class Executor;

// An Error for other threads. Not a std::exception_ptr: ThreadSanitizer does not see how the standard library counts
// who refers to one.
struct Failure {
    gptoss_status status;
    std::string sentence;
};

class HostCommandBuffer final : public CommandBuffer, public std::enable_shared_from_this<HostCommandBuffer> {
public:
    HostCommandBuffer(std::shared_ptr<Executor> executor, std::string label)
        : executor_(std::move(executor)), label_(std::move(label)) {}

    void use(const Pipeline& pipeline) override;
    void bind(uint32_t index, const Slice& slice) override;
    void bind_bytes(uint32_t index, std::span<const std::byte> bytes) override;
    void bind_threadgroup_memory(uint32_t index, size_t num_bytes) override;
    void dispatch(Extent threadgroups, Extent threads_per_threadgroup) override;
    void barrier() override;
    void commit() override;
    double wait(std::chrono::steady_clock::time_point deadline) override;

    // ---- For the executor, after commit()
    const std::string& label() const { return label_; }
    const std::vector<Dispatch>& dispatches() const { return dispatches_; }
    const std::vector<size_t>& barriers() const { return barriers_; } // before which dispatch, ascending
    const std::string& encoding_error() const { return encoding_error_; }

    // Ends wait(). No `failure`: all dispatches ran.
    void finish(double seconds, std::optional<Failure> failure);

private:
    void check_encoding(const char* call) const;
    void note_error(const std::string& error);

    const std::shared_ptr<Executor> executor_;
    const std::string label_;

    // Encoding.
    std::shared_ptr<const Kernel> kernel_;
    Bindings bindings_;
    std::vector<Dispatch> dispatches_;
    std::vector<size_t> barriers_;
    std::string encoding_error_; // the first
    bool is_committed_ = false;

    // The result, by mutex_.
    std::mutex mutex_;
    std::condition_variable finished_;
    bool is_finished_ = false;
    bool has_timed_out_ = false;
    double seconds_ = 0;
    std::optional<Failure> failure_;
};

} // namespace gptoss::metal::host
