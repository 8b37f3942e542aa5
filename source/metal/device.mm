// device.h on Apple's Metal, under ARC: the only Objective-C++, and no more than a translation.
//
// No Mac was at hand to write this on: what it calls is declared in tests/metal_declarations, name by name, and checked
// there. No exception crosses a block or a frame of Objective-C; what fails in an autorelease pool is thrown after it.
#import <Foundation/Foundation.h>
#import <Metal/Metal.h>

#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>

#include "device.h"
#include "device_errors.h"
#include "kernel_source.h"
#include "pipeline_archive.h"

namespace gptoss::metal {

namespace {

std::string to_string(NSString* text) {
    return text == nil ? "" : text.UTF8String;
}

// Takes a buffer into what the GPU keeps at hand, or out of it. Nothing does before macOS 15, where `set` is nil.
void change_residency(id set, id<MTLBuffer> buffer, bool resident) {
    if (@available(macOS 15.0, *)) {
        @autoreleasepool {
            @synchronized(set) {
                id<MTLResidencySet> residency = set;
                resident ? [residency addAllocation:buffer] : [residency removeAllocation:buffer];
                [residency commit];
                [residency requestResidency];
            }
        }
    }
}

struct AppleBuffer final : Buffer {
    AppleBuffer(id<MTLBuffer> buffer, size_t size, id set) : metal(buffer), num_bytes(size), residency_set(set) {
        change_residency(residency_set, metal, true);
    }
    ~AppleBuffer() override { change_residency(residency_set, metal, false); }
    std::byte* data() const override { return static_cast<std::byte*>(metal.contents); }
    size_t size() const override { return num_bytes; }
    const id<MTLBuffer> metal;
    const size_t num_bytes; // at most metal.length
    const id residency_set;
};

struct ApplePipeline final : Pipeline {
    explicit ApplePipeline(id<MTLComputePipelineState> state) : metal(state) {}
    uint32_t max_threads_per_threadgroup() const override { return uint32_t(metal.maxTotalThreadsPerThreadgroup); }
    const id<MTLComputePipelineState> metal;
};

class AppleCommandBuffer final : public CommandBuffer {
public:
    // `commands` is nil if macOS gives none: then encoding does nothing, and wait() fails.
    AppleCommandBuffer(id<MTLCommandBuffer> commands, std::string label)
        : commands_(commands), label_(std::move(label)) {
        encoder_ = [commands_ computeCommandEncoderWithDispatchType:MTLDispatchTypeConcurrent];
        commands_.label = encoder_.label = @(label_.c_str());
    }
    ~AppleCommandBuffer() override { [encoder_ endEncoding]; } // Metal insists, even if it is never committed

    void use(const Pipeline& pipeline) override {
        [encoder_ setComputePipelineState:static_cast<const ApplePipeline&>(pipeline).metal];
    }
    void bind(uint32_t index, const Slice& slice) override {
        [encoder_ setBuffer:static_cast<const AppleBuffer*>(slice.buffer)->metal offset:slice.offset atIndex:index];
    }
    void bind_bytes(uint32_t index, std::span<const std::byte> bytes) override {
        [encoder_ setBytes:bytes.data() length:bytes.size() atIndex:index];
    }
    void bind_threadgroup_memory(uint32_t index, size_t num_bytes) override {
        [encoder_ setThreadgroupMemoryLength:num_bytes atIndex:index];
    }
    void dispatch(Extent groups, Extent threads) override {
        [encoder_ dispatchThreadgroups:MTLSizeMake(groups.x, groups.y, groups.z)
                 threadsPerThreadgroup:MTLSizeMake(threads.x, threads.y, threads.z)];
    }
    void barrier() override { [encoder_ memoryBarrierWithScope:MTLBarrierScopeBuffers]; }
    void commit() override {
        @autoreleasepool {
            [encoder_ endEncoding];
            encoder_ = nil;
            dispatch_semaphore_t done = done_;
            [commands_ addCompletedHandler:^(id<MTLCommandBuffer>) {
              dispatch_semaphore_signal(done);
            }];
            [commands_ commit];
        }
    }

    double wait(std::chrono::steady_clock::time_point deadline) override {
        const auto left = std::chrono::nanoseconds(deadline - std::chrono::steady_clock::now()).count();
        const dispatch_time_t until = dispatch_time(DISPATCH_TIME_NOW, std::max<int64_t>(left, 0));
        if (is_lost_ || (commands_ != nil && dispatch_semaphore_wait(done_, until) != 0)) {
            is_lost_ = true;
            fail_unanswered(label_);
        }
        dispatch_semaphore_signal(done_); // for the next one who asks
        if (commands_.status != MTLCommandBufferStatusCompleted) {
            CommandBufferFailure failure = {.label = label_};
            @autoreleasepool {
                NSError* error = commands_.error;
                NSArray<id<MTLCommandBufferEncoderInfo>>* infos = error.userInfo[MTLCommandBufferEncoderInfoErrorKey];
                failure.reason = to_string(error.localizedDescription);
                failure.code = to_string(error.domain) + " " + std::to_string(error.code);
                failure.out_of_memory = error.code == MTLCommandBufferErrorOutOfMemory;
                failure.by_another = infos.firstObject.errorState == MTLCommandEncoderErrorStateAffected;
            }
            fail_command_buffer(failure);
        }
        return commands_.GPUEndTime - commands_.GPUStartTime;
    }

private:
    id<MTLCommandBuffer> commands_;        // holds what is bound until the GPU has done with it
    id<MTLComputeCommandEncoder> encoder_; // nil from commit() on
    dispatch_semaphore_t done_ = dispatch_semaphore_create(0);
    std::atomic<bool> is_lost_ = false;
    std::string label_;
};

class AppleDevice final : public Device {
public:
    AppleDevice(id<MTLDevice> device, DeviceInfo info, const std::string& archive_path)
        : device_(device), queue_([device newCommandQueue]), info_(std::move(info)), archive_file_(archive_path) {
        if (@available(macOS 15.0, *)) {
            residency_set_ = [device_ newResidencySetWithDescriptor:[MTLResidencySetDescriptor new] error:nil];
            if (residency_set_ != nil) {
                [queue_ addResidencySet:residency_set_];
            }
        }
        MTLBinaryArchiveDescriptor* descriptor = [MTLBinaryArchiveDescriptor new];
        descriptor.url = [NSURL fileURLWithPath:@(archive_path.c_str())];
        archive_ = [device_ newBinaryArchiveWithDescriptor:descriptor error:nil];
        if (archive_ == nil) { // missing or damaged
            descriptor.url = nil;
            archive_ = [device_ newBinaryArchiveWithDescriptor:descriptor error:nil];
        }
    }
    ~AppleDevice() override { save_archive(true); }
    const DeviceInfo& info() const override { return info_; }

    std::unique_ptr<Buffer> make_buffer(size_t num_bytes, const std::string& label) override {
        id<MTLBuffer> buffer = nil;
        if (num_bytes <= info_.max_buffer_bytes) { // there is none of 0 bytes
            buffer = [device_ newBufferWithLength:std::max<size_t>(num_bytes, 1) options:MTLResourceStorageModeShared];
        }
        return adopt(buffer, num_bytes, label);
    }

    std::unique_ptr<Buffer> map_buffer(std::span<const std::byte> memory, const std::string& label) override {
        const size_t page = size_t(getpagesize());
        const size_t num_bytes = (memory.size() + page - 1) / page * page;
        id<MTLBuffer> buffer = nil;
        if (num_bytes <= info_.max_buffer_bytes) { // nobody writes to it, so Metal need not track who does
            buffer = [device_ newBufferWithBytesNoCopy:const_cast<std::byte*>(memory.data())
                                                length:num_bytes
                                               options:MTLResourceHazardTrackingModeUntracked
                                           deallocator:nil];
        }
        return adopt(buffer, memory.size(), label);
    }

    std::unique_ptr<Pipeline> make_pipeline(const std::string& file,
                                            const std::string& kernel,
                                            std::span<const FunctionConstant> constants) override {
        const std::lock_guard<std::mutex> lock(mutex_);
        const KernelSource& source = find_kernel_source(file);
        std::string problem;
        id<MTLComputePipelineState> state = nil;
        @autoreleasepool {
            MTLFunctionConstantValues* values = [MTLFunctionConstantValues new];
            for (const FunctionConstant& constant : constants) {
                [values setConstantValue:&constant.value type:MTLDataTypeUInt atIndex:constant.index];
            }
            NSError* error = nil;
            id<MTLFunction> function = [find_library(source, &error) newFunctionWithName:@(kernel.c_str())
                                                                          constantValues:values
                                                                                   error:&error];
            state = function == nil ? nil : make_state(function, &error);
            problem = to_string(error.localizedDescription);
        }
        if (state == nil) {
            fail_compilation(info_, file, kernel, problem);
        }
        return std::make_unique<ApplePipeline>(state);
    }

    std::shared_ptr<CommandBuffer> begin(const std::string& label) override {
        @autoreleasepool {
            save_archive(false);
            MTLCommandBufferDescriptor* descriptor = [MTLCommandBufferDescriptor new];
            descriptor.errorOptions = MTLCommandBufferErrorOptionEncoderExecutionStatus;
            return std::make_shared<AppleCommandBuffer>([queue_ commandBufferWithDescriptor:descriptor], label);
        }
    }

private:
    std::unique_ptr<Buffer> adopt(id<MTLBuffer> buffer, size_t num_bytes, const std::string& label) {
        if (buffer == nil) {
            fail_allocation(info_, device_.currentAllocatedSize, num_bytes, label);
        }
        buffer.label = @(label.c_str());
        return std::make_unique<AppleBuffer>(buffer, num_bytes, residency_set_);
    }

    id<MTLComputePipelineState> make_state(id<MTLFunction> function, NSError** error) {
        MTLComputePipelineDescriptor* descriptor = [MTLComputePipelineDescriptor new];
        descriptor.computeFunction = function;
        descriptor.binaryArchives = archive_ == nil ? nil : @[ archive_ ];
        const auto make = [&](MTLPipelineOption options) {
            return [device_ newComputePipelineStateWithDescriptor:descriptor
                                                          options:options
                                                       reflection:nil
                                                            error:error];
        };
        id<MTLComputePipelineState> state = make(MTLPipelineOptionFailOnBinaryArchiveMiss);
        if (state == nil) {
            // Compiled once, for the archive, where the pipeline then is; if the archive does not take it, for itself.
            if ([archive_ addComputePipelineFunctionsWithDescriptor:descriptor error:nil]) {
                archive_file_.mark_changed();
            }
            state = make(MTLPipelineOptionNone);
        }
        return state;
    }

    id<MTLLibrary> find_library(const KernelSource& source, NSError** error) {
        id<MTLLibrary> __strong& library = libraries_[source.file];
        if (library == nil && source.source == nullptr) {
            dispatch_data_t data = dispatch_data_create(source.metallib.data(), source.metallib.size(), nil, nil);
            library = [device_ newLibraryWithData:data error:error];
        } else if (library == nil) {
            MTLCompileOptions* options = [MTLCompileOptions new];
            if (@available(macOS 13.0, *)) {
                options.languageVersion = MTLLanguageVersion3_0;
            }
            if (@available(macOS 15.0, *)) {
                options.mathMode = source.fast_math ? MTLMathModeFast : MTLMathModeSafe;
            } else {
                options.fastMathEnabled = source.fast_math;
            }
            library = [device_ newLibraryWithSource:@(source.source) options:options error:error];
        }
        return library;
    }

    void save_archive(bool at_once) {
        @autoreleasepool {
            const std::lock_guard<std::mutex> lock(mutex_);
            archive_file_.save_if_due(at_once, [this](const std::string& draft) {
                return bool([archive_ serializeToURL:[NSURL fileURLWithPath:@(draft.c_str())] error:nil]);
            });
        }
    }

    id<MTLDevice> device_;
    id<MTLCommandQueue> queue_;
    id residency_set_ = nil; // id<MTLResidencySet>, a type of macOS 15
    DeviceInfo info_;
    std::mutex mutex_;                                // of what follows
    std::map<std::string, id<MTLLibrary>> libraries_; // by file
    id<MTLBinaryArchive> archive_ = nil;
    PipelineArchiveFile archive_file_;
};

} // namespace

std::unique_ptr<Device> open_device() {
    DeviceInfo info;
    std::string found;
    @autoreleasepool {
        NSProcessInfo* process = NSProcessInfo.processInfo;
        const NSOperatingSystemVersion version = process.operatingSystemVersion;
        info.operating_system =
            "macOS " + std::to_string(version.majorVersion) + "." + std::to_string(version.minorVersion);
        info.physical_bytes = process.physicalMemory;
        id<MTLDevice> device = MTLCreateSystemDefaultDevice();
        info.name = to_string(device.name);
        info.recommended_bytes = device.recommendedMaxWorkingSetSize;
        info.max_buffer_bytes = device.maxBufferLength;
        found = "this is " + info.operating_system + (device == nil ? " without Metal" : " on " + info.name);
        if (version.majorVersion >= 14 && [device supportsFamily:MTLGPUFamilyApple7]) {
            NSArray<NSString*>* caches = NSSearchPathForDirectoriesInDomains(NSCachesDirectory, NSUserDomainMask, YES);
            const std::string build = to_string(process.operatingSystemVersionString);
            return std::make_unique<AppleDevice>(
                device, info, pipeline_archive_path(to_string(caches.firstObject), info.name, build, kernel_sources()));
        }
    }
    fail_no_gpu(found);
}

} // namespace gptoss::metal
