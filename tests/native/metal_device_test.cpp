// The host device (tests/metal_device): what it runs, and what it does not let pass.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "arguments.h"
#include "check.h"
#include "dense_geometry.h"
#include "function_constants.h"
#include "metal/encoder.h"

using namespace gptoss;
using namespace gptoss::metal;

namespace {

std::chrono::steady_clock::time_point in_a_minute() {
    return std::chrono::steady_clock::now() + std::chrono::minutes(1);
}

// A variable of the environment, for the devices that are opened while this lives.
class Environment {
public:
    Environment(const char* name, const std::string& value) : name_(name) { setenv(name, value.c_str(), 1); }
    ~Environment() { unsetenv(name_); }
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;

private:
    const char* name_;
};

Environment faults(const std::string& value) {
    return {"GPTOSS_METAL_HOST_FAULTS", value};
}

constexpr uint32_t kColumns = 64;
constexpr size_t kRowBytes = kColumns * sizeof(float);
constexpr uint32_t kThreads = gptoss_metal::kNormThreads;
const gptoss_metal::NormArguments kArguments{kColumns, 1e-5f};

// norm (metal/norm.metal) of rows of 64 columns whose gain is 1: a row of one positive number becomes a row of
// ones, a row of one negative number a row of -1. All rows of all tests are such.
struct Norm {
    std::unique_ptr<Device> device = open_device();
    Pipelines pipelines{*device};
    std::unique_ptr<Buffer> gain = make_gain(*device);
    std::unique_ptr<Buffer> rows = device->make_buffer(16 * kRowBytes, "rows");

    static std::unique_ptr<Buffer> make_gain(Device& device) {
        auto gain = device.make_buffer(kColumns * sizeof(uint16_t), "gain");
        std::fill_n(Slice(*gain).as<uint16_t>(), kColumns, uint16_t{0x3F80}); // 1 as bf16
        return gain;
    }

    Norm() { fill({{0, 3}, {1, -0.5f}}); }

    struct Row {
        size_t index;
        float value;
    };
    void fill(std::vector<Row> values) {
        for (const Row& row : values) {
            std::fill_n(row_slice(row.index).as<float>(), kColumns, row.value);
        }
    }
    float value(size_t row) const { return row_slice(row).as<float>()[kColumns - 1]; }
    Slice row_slice(size_t row, size_t num_rows = 1) const {
        return {rows.get(), row * kRowBytes, num_rows * kRowBytes};
    }

    Encoder encoder(const std::string& label = "norms") { return {*device, pipelines, label}; }

    void launch(Encoder& encoder, const Slice& input, const Slice& output, uint32_t num_threads = kThreads) {
        const auto num_rows = static_cast<uint32_t>(std::max(input.size / kRowBytes, size_t{1}));
        encoder.launch({"norm", "norm"}, kArguments, {{1, input}, {2, *gain}, {3, output}},
                       {{num_rows, 1, 1}, {num_threads, 1, 1}});
    }
    void launch(Encoder& encoder, size_t input, size_t output, size_t num_rows = 1) {
        launch(encoder, row_slice(input, num_rows), row_slice(output, num_rows));
    }

    std::shared_ptr<CommandBuffer> committed(const std::string& label = "norms") {
        Encoder commands = encoder(label);
        launch(commands, 0, 2);
        return commands.commit();
    }
    void check_usable() {
        fill({{0, 3}, {2, 0}});
        committed()->wait(in_a_minute());
        CHECK_CLOSE(value(2), 1, 1e-5);
    }
};

// Pages of rows that are somebody else's.
class Mapping {
public:
    explicit Mapping(size_t num_bytes) : size_(num_bytes) {
        memory_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    ~Mapping() { munmap(memory_, size_); }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;

    std::span<std::byte> bytes() const { return {static_cast<std::byte*>(memory_), size_}; }

private:
    void* memory_;
    size_t size_;
};

// Encodes a launch of norm without the Encoder's help.
std::shared_ptr<CommandBuffer> bare_commands(Norm& norm) {
    auto commands = norm.device->begin("bare");
    commands->use(norm.pipelines.get({"norm", "norm"}));
    commands->bind_bytes(0, std::as_bytes(std::span(&kArguments, 1)));
    commands->bind(1, norm.row_slice(0));
    commands->bind(2, *norm.gain);
    commands->bind(3, norm.row_slice(2));
    return commands;
}

void check_refused(CommandBuffer& commands, const std::string& part) {
    commands.commit();
    for (int again = 0; again < 2; again++) {
        CHECK_FAILS(gptoss_status_internal_error, part, commands.wait(in_a_minute()));
    }
}

std::string report_of(const std::function<void()>& use_device) {
    const std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("metal_device_test_" + std::to_string(getpid()) + ".jsonl");
    std::filesystem::remove(path);
    {
        const Environment report("GPTOSS_METAL_HOST_REPORT", path.string());
        use_device();
    }
    std::ifstream file(path);
    const std::string text(std::istreambuf_iterator<char>(file), {});
    std::filesystem::remove(path);
    return text;
}

} // namespace

// ---- What runs

TEST(a_kernel_runs) {
    Norm norm;
    Encoder encoder = norm.encoder();
    norm.launch(encoder, 0, 2, 2);
    const double seconds = encoder.commit()->wait(in_a_minute());
    CHECK(seconds > 0);
    CHECK_CLOSE(norm.value(2), 1, 1e-5);
    CHECK_CLOSE(norm.value(3), -1, 1e-4);
    CHECK_EQUAL(norm.value(4), 0.0f);
}

TEST(wait_gives_the_same_seconds_again) {
    Norm norm;
    const auto commands = norm.committed();
    const double seconds = commands->wait(in_a_minute());
    CHECK_EQUAL(commands->wait(std::chrono::steady_clock::now()), seconds);
}

TEST(command_buffers_run_in_the_order_of_their_commits) {
    Norm norm;
    norm.fill({{0, -7}});
    std::vector<std::shared_ptr<CommandBuffer>> all;
    for (size_t i = 0; i < 8; i++) {
        Encoder encoder = norm.encoder();
        norm.launch(encoder, i, i + 1);
        all.push_back(encoder.commit());
    }
    all.back()->wait(in_a_minute());
    CHECK_CLOSE(norm.value(8), -1, 1e-4);
}

TEST(what_is_bound_stays_bound) {
    Norm norm;
    const auto commands = bare_commands(norm);
    commands->dispatch({1, 1, 1}, {kThreads, 1, 1});
    commands->use(norm.pipelines.get({"norm", "norm"}));
    commands->bind(1, norm.row_slice(1));
    commands->bind(3, norm.row_slice(3));
    commands->dispatch({1, 1, 1}, {kThreads, 1, 1});
    commands->commit();
    commands->wait(in_a_minute());
    CHECK_CLOSE(norm.value(2), 1, 1e-5);
    CHECK_CLOSE(norm.value(3), -1, 1e-4);
}

TEST(bytes_are_copied_when_they_are_bound) {
    Norm norm;
    const auto commands = bare_commands(norm);
    {
        gptoss_metal::NormArguments arguments = kArguments;
        commands->bind_bytes(0, std::as_bytes(std::span(&arguments, 1)));
        arguments.num_columns = 1 << 20;
    }
    commands->dispatch({1, 1, 1}, {kThreads, 1, 1});
    commands->commit();
    commands->wait(in_a_minute());
    CHECK_CLOSE(norm.value(2), 1, 1e-5);
}

TEST(buffers_and_pipelines_live_as_long_as_what_uses_them) {
    Norm norm;
    auto input = norm.device->make_buffer(kRowBytes, "input");
    std::fill_n(Slice(*input).as<float>(), kColumns, 5.0f);
    auto pipelines = std::make_unique<Pipelines>(*norm.device);
    Encoder encoder(*norm.device, *pipelines, "norms");
    norm.launch(encoder, *input, norm.row_slice(2));
    input.reset();
    pipelines.reset();
    encoder.commit()->wait(in_a_minute());
    CHECK_CLOSE(norm.value(2), 1, 1e-5);
}

TEST(a_closed_device_finishes_what_was_committed_and_takes_no_more) {
    Norm norm;
    std::vector<std::shared_ptr<CommandBuffer>> committed;
    for (int i = 0; i < 3; i++) {
        committed.push_back(norm.committed());
    }
    Encoder encoder = norm.encoder("late");
    norm.launch(encoder, 0, 3);
    norm.device.reset();
    for (const auto& commands : committed) {
        CHECK(commands->wait(in_a_minute()) > 0);
    }
    const auto late = encoder.commit();
    CHECK_FAILS(gptoss_status_internal_error, "'late'", late->wait(in_a_minute()));
}

TEST(what_is_dropped_before_its_commit_does_not_run) {
    Norm norm;
    {
        Encoder encoder = norm.encoder();
        norm.launch(encoder, 0, 2);
    }
    norm.committed()->wait(in_a_minute());
    CHECK_CLOSE(norm.value(2), 1, 1e-5);
    CHECK_EQUAL(norm.value(3), 0.0f);
}

TEST(several_devices_work_at_the_same_time) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; i++) {
        threads.emplace_back([] {
            Norm norm;
            for (int again = 0; again < 5; again++) {
                norm.check_usable();
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}

TEST(new_buffers_hold_zeros) {
    Norm norm;
    const auto buffer = norm.device->make_buffer(999, "odd");
    CHECK_EQUAL(buffer->size(), size_t{999});
    CHECK(std::all_of(buffer->data(), buffer->data() + 999, [](std::byte b) { return b == std::byte{0}; }));
    CHECK_EQUAL(reinterpret_cast<uintptr_t>(buffer->data()) % 16, uintptr_t{0});
}

TEST(function_constants_specialise_a_pipeline) {
    const auto device = open_device();
    const FunctionConstant constant{gptoss_metal::kProjectionInputs, 64};
    CHECK(device->make_pipeline("projection_matvec", "projection_matvec_bf16", {&constant, 1})
              ->max_threads_per_threadgroup() == gptoss_metal::kMatvecThreads);
    const FunctionConstant unknown{999, 64};
    CHECK_FAILS(gptoss_status_internal_error, "there is no function constant 999",
                device->make_pipeline("projection_matvec", "projection_matvec_bf16", {&unknown, 1}));
}

TEST(unknown_kernels_are_named) {
    const auto device = open_device();
    CHECK_FAILS(gptoss_status_internal_error, "there is no kernel norm_double",
                device->make_pipeline("norm", "norm_double", {}));
    CHECK_FAILS(gptoss_status_internal_error, "mystery.so", device->make_pipeline("mystery", "mystery", {}));
}

// ---- Mapped memory

TEST(mapped_memory_is_read) {
    const Mapping mapping(8192);
    std::fill_n(reinterpret_cast<float*>(mapping.bytes().data()) + kColumns, kColumns, -4.0f);
    Norm norm;
    const auto mapped = norm.device->map_buffer(mapping.bytes().first(5000), "weights");
    CHECK(mapped->data() == mapping.bytes().data());
    for (size_t output = 2; output < 5; output++) {
        Encoder encoder = norm.encoder();
        norm.launch(encoder, {mapped.get(), kRowBytes, kRowBytes}, norm.row_slice(output));
        encoder.commit()->wait(in_a_minute());
        CHECK_CLOSE(norm.value(output), -1, 1e-4);
    }
}

TEST(mapped_memory_is_not_written) {
    const Mapping mapping(4096);
    Norm norm;
    const auto mapped = norm.device->map_buffer(mapping.bytes(), "weights");
    Encoder encoder = norm.encoder();
    norm.launch(encoder, norm.row_slice(0), {mapped.get(), 0, kRowBytes});
    CHECK_FAILS(gptoss_status_internal_error,
                "dispatch 1 (norm): the kernel writes to buffer 3 ('output'), which is bound to mapped memory "
                "(weights)",
                encoder.commit()->wait(in_a_minute()));
}

TEST(mapped_memory_begins_at_a_page) {
    const Mapping mapping(8192);
    Norm norm;
    CHECK_FAILS(gptoss_status_internal_error, "cannot be mapped",
                norm.device->map_buffer(mapping.bytes().subspan(16), "weights"));
    CHECK_FAILS(gptoss_status_internal_error, "cannot be mapped",
                norm.device->map_buffer(mapping.bytes().first(0), "weights"));
}

TEST(reads_beside_a_mapped_slice_are_found) {
    const Mapping mapping(8192);
    Norm norm;
    const auto mapped = norm.device->map_buffer(mapping.bytes(), "weights");
    Encoder encoder = norm.encoder();
    norm.launch(encoder, {mapped.get(), 0, kRowBytes - 16}, norm.row_slice(2));
    CHECK_FAILS(gptoss_status_internal_error, "access to byte 240 of buffer 1 ('input'), which has 240 bytes",
                encoder.commit()->wait(in_a_minute()));
    norm.check_usable();
}

// ---- What is not let pass

TEST(slices_lie_within_their_buffers) {
    Norm norm;
    const auto beyond = bare_commands(norm);
    beyond->bind(3, {norm.rows.get(), 15 * kRowBytes + 4, kRowBytes});
    beyond->dispatch({1, 1, 1}, {kThreads, 1, 1});
    check_refused(*beyond, "'bare': buffer 3 is bound to bytes 3844 to 4100 of 'rows', which has 4096");

    const auto wrapped = bare_commands(norm);
    wrapped->bind(3, {norm.rows.get(), SIZE_MAX, 2});
    check_refused(*wrapped, "of 'rows', which has 4096");

    const auto nothing = bare_commands(norm);
    nothing->bind(3, Slice());
    check_refused(*nothing, "buffer 3 is bound to a slice of nothing");

    const auto far = bare_commands(norm);
    far->bind(31, norm.row_slice(0));
    check_refused(*far, "there is no buffer 31");
    norm.check_usable();
}

TEST(kernels_touch_no_more_than_their_slices) {
    Norm norm;
    Encoder reads = norm.encoder();
    norm.launch(reads, {norm.rows.get(), 0, kRowBytes - 16}, norm.row_slice(2));
    CHECK_FAILS(gptoss_status_internal_error, "byte 240 of buffer 1 ('input')", reads.commit()->wait(in_a_minute()));
    Encoder writes = norm.encoder();
    norm.launch(writes, norm.row_slice(0), {norm.rows.get(), 2 * kRowBytes, kRowBytes - 16});
    CHECK_FAILS(gptoss_status_internal_error, "byte 240 of buffer 3 ('output')", writes.commit()->wait(in_a_minute()));
    CHECK_EQUAL(norm.value(2), 0.0f); // a failed launch writes nothing back
    norm.check_usable();
}

TEST(everything_that_a_kernel_takes_is_bound) {
    Norm norm;
    const auto commands = norm.device->begin("bare");
    commands->use(norm.pipelines.get({"norm", "norm"}));
    commands->bind_bytes(0, std::as_bytes(std::span(&kArguments, 1)));
    commands->bind(1, norm.row_slice(0));
    commands->bind(3, norm.row_slice(2));
    commands->dispatch({1, 1, 1}, {kThreads, 1, 1});
    check_refused(*commands, "dispatch 1 (norm): nothing is bound to buffer 2 ('gain')");

    const auto early = norm.device->begin("bare");
    early->dispatch({1, 1, 1}, {kThreads, 1, 1});
    check_refused(*early, "a dispatch comes before any pipeline");
}

TEST(bytes_are_few_and_only_read) {
    Norm norm;
    const std::vector<std::byte> many(4097);
    const auto large = bare_commands(norm);
    large->bind_bytes(0, many);
    check_refused(*large, "4097 bytes");

    const auto written = bare_commands(norm);
    written->bind_bytes(3, std::span(many).first(kRowBytes));
    written->dispatch({1, 1, 1}, {kThreads, 1, 1});
    check_refused(*written, "the kernel writes to buffer 3 ('output'), which is bound to bytes of the command buffer");
}

TEST(threadgroups_are_within_the_limits) {
    Norm norm;
    const auto large = bare_commands(norm);
    large->dispatch({1, 1, 1}, {kThreads + 32, 1, 1});
    check_refused(*large, "larger than the kernel's max_total_threads_per_threadgroup(256)");

    const auto empty = bare_commands(norm);
    empty->dispatch({1, 0, 1}, {kThreads, 1, 1});
    check_refused(*empty, "is empty");

    const auto odd = bare_commands(norm);
    odd->bind_threadgroup_memory(0, 40);
    check_refused(*odd, "threadgroup memory 0 of 40 bytes");
}

TEST(a_command_buffer_is_encoded_then_committed_then_waited_for) {
    Norm norm;
    const auto commands = bare_commands(norm);
    CHECK_FAILS(gptoss_status_internal_error, "before it is committed", commands->wait(in_a_minute()));
    commands->dispatch({1, 1, 1}, {kThreads, 1, 1});
    commands->commit();
    CHECK_FAILS(gptoss_status_internal_error, "dispatch() is too late",
                commands->dispatch({1, 1, 1}, {kThreads, 1, 1}));
    CHECK_FAILS(gptoss_status_internal_error, "commit() is too late", commands->commit());
    commands->wait(in_a_minute());
}

// ---- Barriers

TEST(what_an_earlier_dispatch_writes_needs_a_barrier) {
    Norm norm;
    Encoder read_after_write = norm.encoder();
    norm.launch(read_after_write, 0, 2);
    norm.launch(read_after_write, 1, 3);
    norm.launch(read_after_write, 2, 4);
    CHECK_FAILS(gptoss_status_internal_error,
                "'norms': dispatch 3 (norm) reads bytes 512 to 768 of the buffer 'rows' (its 'input') that "
                "dispatch 1 (norm) writes (its 'output') with no barrier in between",
                read_after_write.commit()->wait(in_a_minute()));
    CHECK_EQUAL(norm.value(2), 0.0f); // none of it ran

    Encoder write_after_read = norm.encoder();
    norm.launch(write_after_read, 0, 2);
    norm.launch(write_after_read, 1, 0);
    CHECK_FAILS(gptoss_status_internal_error,
                "dispatch 2 (norm) writes bytes 0 to 256 of the buffer 'rows' (its 'output') that dispatch 1 "
                "(norm) reads",
                write_after_read.commit()->wait(in_a_minute()));

    Encoder write_after_write = norm.encoder();
    norm.launch(write_after_write, 0, 2);
    norm.launch(write_after_write, 1, 2);
    CHECK_FAILS(gptoss_status_internal_error, "that dispatch 1 (norm) writes",
                write_after_write.commit()->wait(in_a_minute()));
    norm.check_usable();
}

TEST(a_barrier_makes_writes_visible) {
    Norm norm;
    Encoder encoder = norm.encoder();
    norm.launch(encoder, 1, 2);
    encoder.barrier();
    norm.launch(encoder, 2, 3);
    encoder.commit()->wait(in_a_minute());
    CHECK_CLOSE(norm.value(3), -1, 1e-4);
}

TEST(a_barrier_orders_everything_on_both_sides_of_it) {
    Norm norm;
    Encoder encoder = norm.encoder();
    norm.launch(encoder, 1, 2);
    encoder.barrier();
    norm.launch(encoder, 0, 3);
    norm.launch(encoder, 2, 4);
    norm.launch(encoder, 2, 5); // two that read the same
    encoder.commit()->wait(in_a_minute());
    CHECK_CLOSE(norm.value(5), -1, 1e-4);
}

TEST(a_part_of_a_slice_is_enough_for_a_hazard) {
    Norm norm;
    Encoder encoder = norm.encoder();
    norm.launch(encoder, 0, 4, 2);
    norm.launch(encoder, 5, 8, 2);
    CHECK_FAILS(gptoss_status_internal_error, "reads bytes 1280 to 1536", encoder.commit()->wait(in_a_minute()));
}

// ---- Report and order

TEST(the_report_has_a_line_for_each_command_buffer) {
    const std::string report = report_of([] {
        Norm norm;
        Encoder encoder = norm.encoder("two \"norms\"");
        encoder.barrier();
        norm.launch(encoder, 0, 2);
        encoder.barrier();
        norm.launch(encoder, 2, 3);
        encoder.barrier();
        norm.launch(encoder, 1, 4, 1);
        encoder.commit()->wait(in_a_minute());
        norm.committed("next")->wait(in_a_minute());
    });
    const std::string kernel = "\"norm\"";
    CHECK_EQUAL(report,
                "{\"label\": \"two \\\"norms\\\"\", \"dispatches\": 3, \"barriers\": 3, \"unneeded_barriers\": "
                "[\"before dispatch 1 (norm)\", \"before dispatch 3 (norm)\"], \"kernels\": [" +
                    kernel + ", " + kernel + ", " + kernel +
                    "], \"bytes_read\": 1152, \"bytes_written\": 768}\n"
                    "{\"label\": \"next\", \"dispatches\": 1, \"barriers\": 0, \"unneeded_barriers\": [], "
                    "\"kernels\": [" +
                    kernel + "], \"bytes_read\": 384, \"bytes_written\": 256}\n");
}

TEST(an_unwritable_report_is_an_error) {
    const Environment report("GPTOSS_METAL_HOST_REPORT", "/nonexistent/report");
    Norm norm;
    CHECK_FAILS(gptoss_status_io_error, "/nonexistent/report", norm.committed()->wait(in_a_minute()));
}

TEST(a_random_order_gives_the_same_results) {
    for (const char* seed : {"0", "1", "18446744073709551615"}) {
        const Environment order("GPTOSS_METAL_HOST_ORDER", seed);
        Norm norm;
        Encoder encoder = norm.encoder();
        norm.launch(encoder, 1, 2);
        norm.launch(encoder, 0, 3);
        encoder.barrier();
        norm.launch(encoder, 2, 4);
        norm.launch(encoder, 3, 5);
        encoder.commit()->wait(in_a_minute());
        CHECK_CLOSE(norm.value(4), -1, 1e-4);
        CHECK_CLOSE(norm.value(5), 1, 1e-5);
    }
}

// ---- Faults

TEST(there_may_be_no_device_or_an_old_system) {
    {
        const Environment fault = faults("no_device");
        CHECK_FAILS(gptoss_status_unsupported_system, "'cpu'", open_device());
    }
    const Environment fault = faults("old_system");
    CHECK_FAILS(gptoss_status_unsupported_system, "macOS 14", open_device());
}

TEST(memory_may_be_small) {
    const Environment fault = faults("memory:1000000,max_buffer:65536");
    const auto device = open_device();
    CHECK_EQUAL(device->info().recommended_bytes, uint64_t{1000000});
    CHECK_EQUAL(device->info().max_buffer_bytes, uint64_t{65536});
    CHECK(device->make_buffer(65536, "fits") != nullptr);
    CHECK_FAILS(gptoss_status_insufficient_resources, "too large", device->make_buffer(65537, "too large"));
    const Mapping mapping(1 << 17);
    CHECK_FAILS(gptoss_status_internal_error, "65536", device->map_buffer(mapping.bytes(), "weights"));
}

TEST(an_allocation_may_be_refused) {
    const Environment fault = faults("allocation:2");
    const auto device = open_device();
    CHECK(device->make_buffer(16, "first") != nullptr);
    CHECK_FAILS(gptoss_status_insufficient_resources, "second", device->make_buffer(16, "second"));
    CHECK(device->make_buffer(16, "third") != nullptr);
}

TEST(a_buffer_has_bytes) {
    const auto device = open_device();
    CHECK_FAILS(gptoss_status_internal_error, "nothing", device->make_buffer(0, "nothing"));
}

TEST(a_kernel_may_not_compile) {
    const Environment fault = faults("compile:router_tiled");
    Norm norm;
    norm.check_usable();
    CHECK_FAILS(gptoss_status_internal_error, "router_tiled", norm.pipelines.get({"router", "router_tiled"}));
    // It is tried again: nothing is left of a pipeline that could not be made.
    CHECK_FAILS(gptoss_status_internal_error, "router_tiled", norm.pipelines.get({"router", "router_tiled"}));
}

TEST(a_command_buffer_may_fail_half_way) {
    const Environment fault = faults("failure:2");
    Norm norm;
    norm.check_usable();
    Encoder encoder = norm.encoder("failing");
    for (size_t output = 4; output < 8; output++) {
        norm.launch(encoder, 0, output);
    }
    const auto failing = encoder.commit();
    const auto next = norm.committed();
    CHECK_FAILS(gptoss_status_internal_error, "'failing'", failing->wait(in_a_minute()));
    CHECK_FAILS(gptoss_status_internal_error, "'failing'", failing->wait(in_a_minute()));
    CHECK_CLOSE(norm.value(5), 1, 1e-5);
    CHECK_EQUAL(norm.value(6), 0.0f);
    CHECK(next->wait(in_a_minute()) > 0);
}

TEST(a_command_buffer_may_never_finish) {
    const Environment fault = faults("hang:2");
    Norm norm;
    norm.check_usable();
    norm.fill({{2, 0}});
    const auto hanging = norm.committed("hanging");
    const auto behind = norm.committed("behind");
    const auto unwaited = norm.committed("unwaited");
    const auto now = std::chrono::steady_clock::now();
    CHECK_FAILS(gptoss_status_internal_error, "The GPU stopped answering", hanging->wait(now));
    CHECK_FAILS(gptoss_status_internal_error, "The GPU stopped answering", behind->wait(now));
    norm.device.reset(); // joins the thread
    // What has timed out stays so; what has not says that it did not run.
    CHECK_FAILS(gptoss_status_internal_error, "The GPU stopped answering", hanging->wait(in_a_minute()));
    CHECK_FAILS(gptoss_status_internal_error, "'unwaited'", unwaited->wait(in_a_minute()));
    CHECK_EQUAL(norm.value(2), 0.0f);
}

TEST(a_wait_ends_when_the_device_is_closed) {
    const Environment fault = faults("hang:1");
    Norm norm;
    const auto hanging = norm.committed();
    std::thread waiting([&] { CHECK_FAILS(gptoss_status_internal_error, "'norms'", hanging->wait(in_a_minute())); });
    norm.device.reset();
    waiting.join();
}

TEST(unknown_settings_are_refused) {
    for (const char* value : {"failure", "failure:x", "hang:-1", "memory:", "compile:", "quake", "no_device:1",
                              "memory:18446744073709551616"}) {
        const Environment fault = faults(value);
        CHECK_FAILS(gptoss_status_invalid_argument, "GPTOSS_METAL_HOST_FAULTS", open_device());
    }
    {
        const Environment mode("GPTOSS_METAL_HOST_MODE", "asan");
        CHECK_FAILS(gptoss_status_invalid_argument, "neither plain nor trace", open_device());
    }
    const Environment order("GPTOSS_METAL_HOST_ORDER", "shuffled");
    CHECK_FAILS(gptoss_status_invalid_argument, "GPTOSS_METAL_HOST_ORDER", open_device());
}

TEST(trace_mode_needs_its_kernels) {
    const Environment mode("GPTOSS_METAL_HOST_MODE", "trace");
#if GPTOSS_METAL_HOST_TRACE
    Norm norm;
    norm.check_usable();
#else
    const auto device = open_device();
    CHECK_FAILS(gptoss_status_unsupported_system, "GPTOSS_METAL_HOST_TRACE=ON",
                device->make_pipeline("norm", "norm", {}));
#endif
}
