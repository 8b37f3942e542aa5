#include "command_buffer.h"

#include "errors.h"
#include "executor.h"
#include "metal/device_errors.h"

namespace gptoss::metal::host {

namespace {

constexpr size_t kMostBytes = 4096; // that setBytes takes

} // namespace

void HostCommandBuffer::check_encoding(const char* call) const {
    if (is_committed_) {
        fail(gptoss_status_internal_error, "The command buffer '", label_, "' is committed already: ", call,
             "() is too late. This is a defect of gptoss: please report it.");
    }
}

void HostCommandBuffer::note_error(const std::string& error) {
    if (encoding_error_.empty()) {
        encoding_error_ = error;
    }
}

void HostCommandBuffer::use(const Pipeline& pipeline) {
    check_encoding("use");
    kernel_ = static_cast<const HostPipeline&>(pipeline).kernel();
}

void HostCommandBuffer::bind(uint32_t index, const Slice& slice) {
    check_encoding("bind");
    if (index >= kNumIndices) {
        note_error("there is no buffer " + std::to_string(index) + ": the last one is 30");
        return;
    }
    bindings_.buffers[index].reset();
    if (slice.buffer == nullptr) {
        note_error("buffer " + std::to_string(index) + " is bound to a slice of nothing");
        return;
    }
    const std::shared_ptr<Memory>& memory = static_cast<const HostBuffer*>(slice.buffer)->memory();
    if (slice.offset > memory->size() || slice.size > memory->size() - slice.offset) {
        note_error("buffer " + std::to_string(index) + " is bound to bytes " + std::to_string(slice.offset) + " to " +
                   std::to_string(slice.offset + slice.size) + " of '" + memory->label() + "', which has " +
                   std::to_string(memory->size()));
        return;
    }
    bindings_.buffers[index] = BoundBuffer{memory, slice.offset, slice.size, nullptr};
}

void HostCommandBuffer::bind_bytes(uint32_t index, std::span<const std::byte> bytes) {
    check_encoding("bind_bytes");
    if (index >= kNumIndices) {
        note_error("there is no buffer " + std::to_string(index) + ": the last one is 30");
        return;
    }
    if (bytes.empty() || bytes.size() > kMostBytes) {
        note_error("buffer " + std::to_string(index) + " is bound to " + std::to_string(bytes.size()) +
                   " bytes of the command buffer's own: there can be 1 to 4096");
        return;
    }
    bindings_.buffers[index] =
        BoundBuffer{nullptr, 0, 0, std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end())};
}

void HostCommandBuffer::bind_threadgroup_memory(uint32_t index, size_t num_bytes) {
    check_encoding("bind_threadgroup_memory");
    if (index >= kNumIndices || num_bytes == 0 || num_bytes % 16 != 0) {
        note_error("threadgroup memory " + std::to_string(index) + " of " + std::to_string(num_bytes) +
                   " bytes: indices go to 30, sizes are positive multiples of 16");
        return;
    }
    bindings_.threadgroup_memory[index] = num_bytes;
}

void HostCommandBuffer::dispatch(Extent threadgroups, Extent threads_per_threadgroup) {
    check_encoding("dispatch");
    if (!encoding_error_.empty()) {
        return; // nothing of this command buffer will run
    }
    if (kernel_ == nullptr) {
        note_error("a dispatch comes before any pipeline");
        return;
    }
    try {
        dispatches_.emplace_back(kernel_, bindings_, threadgroups, threads_per_threadgroup);
    } catch (const Error& error) {
        note_error("dispatch " + std::to_string(dispatches_.size() + 1) + " (" + kernel_->name + "): " + error.what());
    }
}

void HostCommandBuffer::barrier() {
    check_encoding("barrier");
    barriers_.push_back(dispatches_.size());
}

void HostCommandBuffer::commit() {
    check_encoding("commit");
    is_committed_ = true;
    executor_->submit(shared_from_this());
}

void HostCommandBuffer::finish(double seconds, std::optional<Failure> failure) {
    {
        const std::lock_guard lock(mutex_);
        is_finished_ = true;
        seconds_ = seconds;
        failure_ = std::move(failure);
    }
    finished_.notify_all();
}

double HostCommandBuffer::wait(std::chrono::steady_clock::time_point deadline) {
    if (!is_committed_) {
        fail(gptoss_status_internal_error, "The command buffer '", label_,
             "' is waited for before it is committed. This is a defect of gptoss: please report it.");
    }
    std::unique_lock lock(mutex_);
    const bool finished = !has_timed_out_ && finished_.wait_until(lock, deadline, [this] { return is_finished_; });
    if (!finished) {
        has_timed_out_ = true; // whatever becomes of it
        fail_unanswered(label_);
    }
    if (failure_) {
        throw Error(failure_->status, failure_->sentence);
    }
    return seconds_;
}

} // namespace gptoss::metal::host
