// A device that runs dispatches one at a time, so that a test can leave one out, or spoil what it wrote.
#pragma once

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "metal/device.h"

namespace gptoss::metal {

class SteppingDevice : public Device {
public:
    explicit SteppingDevice(Device& device) : device_(device) {}

    // The kernel that is not to run, and nothing after it either, which would take garbage for counts.
    std::string left_out;
    // The kernel to spoil: one word of what it wrote, `salt` says which. At once, or after all that follows has read
    // it; then only if it is there still.
    std::string spoilt;
    bool spoils_at_once = false;
    uint32_t salt = 0;

    std::set<std::string> launched;

    const DeviceInfo& info() const override { return device_.info(); }
    std::unique_ptr<Buffer> make_buffer(size_t num_bytes, const std::string& label) override {
        return device_.make_buffer(num_bytes, label);
    }
    std::unique_ptr<Buffer> map_buffer(std::span<const std::byte> memory, const std::string& label) override {
        return device_.map_buffer(memory, label);
    }
    std::unique_ptr<Pipeline> make_pipeline(const std::string& file,
                                            const std::string& kernel,
                                            std::span<const FunctionConstant> constants) override {
        std::unique_ptr<Pipeline> pipeline = device_.make_pipeline(file, kernel, constants);
        kernels_[pipeline.get()] = kernel;
        return pipeline;
    }
    std::shared_ptr<CommandBuffer> begin(const std::string&) override { return std::make_shared<Steps>(*this); }

private:
    using Deadline = std::chrono::steady_clock::time_point;

    class Steps : public CommandBuffer {
    public:
        explicit Steps(SteppingDevice& stepping) : stepping_(stepping) {}

        void use(const Pipeline& pipeline) override {
            pipeline_ = &pipeline;
            slices_.clear();
            bytes_.clear();
            threadgroup_memory_.clear();
        }
        void bind(uint32_t index, const Slice& slice) override { slices_[index] = slice; }
        void bind_bytes(uint32_t index, std::span<const std::byte> bytes) override {
            bytes_[index] = {bytes.begin(), bytes.end()};
        }
        void bind_threadgroup_memory(uint32_t index, size_t num_bytes) override {
            threadgroup_memory_[index] = num_bytes;
        }
        void dispatch(Extent threadgroups, Extent threads_per_threadgroup) override {
            const std::string& kernel = stepping_.kernels_.at(pipeline_);
            stepping_.launched.insert(kernel);
            is_over_ = is_over_ || kernel == stepping_.left_out;
            if (is_over_) {
                return;
            }
            std::map<uint32_t, std::vector<uint32_t>> before;
            for (const auto& [index, slice] : slices_) {
                if (kernel == stepping_.spoilt) {
                    before[index] = words(slice);
                }
            }
            run(threadgroups, threads_per_threadgroup);
            if (kernel == stepping_.spoilt) {
                for (const auto& [index, slice] : slices_) {
                    note_writes(slice, before[index]);
                }
                if (stepping_.spoils_at_once) {
                    spoil();
                }
            }
        }
        void barrier() override {}
        void commit() override {}
        double wait(Deadline) override {
            if (!stepping_.spoils_at_once) {
                spoil();
            }
            return 0;
        }

    private:
        struct Write {
            uint32_t* word;
            uint32_t value;
        };

        static std::vector<uint32_t> words(const Slice& slice) {
            std::vector<uint32_t> copy(slice.size / sizeof(uint32_t));
            std::memcpy(copy.data(), slice.as<std::byte>(), copy.size() * sizeof(uint32_t));
            return copy;
        }

        void run(Extent threadgroups, Extent threads_per_threadgroup) {
            const std::shared_ptr<CommandBuffer> commands = stepping_.device_.begin("a step");
            commands->use(*pipeline_);
            for (const auto& [index, bytes] : bytes_) {
                commands->bind_bytes(index, bytes);
            }
            for (const auto& [index, slice] : slices_) {
                commands->bind(index, slice);
            }
            for (const auto& [index, num_bytes] : threadgroup_memory_) {
                commands->bind_threadgroup_memory(index, num_bytes);
            }
            commands->dispatch(threadgroups, threads_per_threadgroup);
            commands->commit();
            commands->wait(std::chrono::steady_clock::now() + std::chrono::minutes(1));
        }

        void note_writes(const Slice& slice, const std::vector<uint32_t>& before) {
            uint32_t* const now = slice.as<uint32_t>();
            for (size_t i = 0; i < before.size(); i++) {
                if (now[i] != before[i]) {
                    writes_.push_back({now + i, now[i]});
                }
            }
        }

        // Turns an exponent's highest bit, of a float and of two halves alike.
        void spoil() {
            std::erase_if(writes_, [](const Write& write) { return *write.word != write.value; });
            if (!writes_.empty()) {
                *writes_[(2654435761u * stepping_.salt) % writes_.size()].word ^= 0x40004000u;
            }
            writes_.clear();
        }

        SteppingDevice& stepping_;
        const Pipeline* pipeline_ = nullptr;
        std::map<uint32_t, Slice> slices_;
        std::map<uint32_t, std::vector<std::byte>> bytes_;
        std::map<uint32_t, size_t> threadgroup_memory_;
        std::vector<Write> writes_;
        bool is_over_ = false;
    };

    Device& device_;
    std::map<const Pipeline*, std::string> kernels_;
};

} // namespace gptoss::metal
