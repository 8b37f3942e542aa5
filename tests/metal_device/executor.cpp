#include "executor.h"

#include <chrono>
#include <functional>
#include <optional>

#include "command_buffer.h"
#include "dispatch_order.h"
#include "errors.h"
#include "hazards.h"
#include "metal/device_errors.h"
#include "report.h"

namespace gptoss::metal::host {

namespace {

// What a GPU does not find: it would compute nonsense, or crash.
[[noreturn]] void fail_wrong_commands(const HostCommandBuffer& commands, const std::string& why) {
    fail(gptoss_status_internal_error, "The host device refuses '", commands.label(), "': ", why,
         ". This is a defect of gptoss: please report it.");
}

[[noreturn]] void fail_closed(const HostCommandBuffer& commands) {
    fail_command_buffer({commands.label(), "its device was closed before it was done", "host device"});
}

// The failure that `run` throws, if it throws one.
std::optional<Failure> failure_of(const std::function<void()>& run) {
    try {
        run();
        return std::nullopt;
    } catch (const Error& error) {
        return Failure{error.status(), error.what()};
    } catch (const std::exception& error) {
        return Failure{gptoss_status_internal_error, std::string("The host device failed: ") + error.what() + "."};
    }
}

} // namespace

Executor::Executor(const Settings& settings) : settings_(settings), thread_([this] { run_thread(); }) {}

void Executor::submit(std::shared_ptr<HostCommandBuffer> commands) {
    {
        const std::lock_guard lock(mutex_);
        if (!is_closed_) {
            queue_.push_back(std::move(commands));
            changed_.notify_all();
            return;
        }
    }
    commands->finish(0, failure_of([&] { fail_closed(*commands); }));
}

void Executor::close() {
    {
        const std::lock_guard lock(mutex_);
        is_closed_ = true;
        changed_.notify_all();
    }
    thread_.join();
}

void Executor::wait_until_closed() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_closed_; });
}

void Executor::run_thread() {
    for (;;) {
        std::shared_ptr<HostCommandBuffer> commands;
        {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [this] { return is_closed_ || !queue_.empty(); });
            if (queue_.empty()) {
                return;
            }
            commands = std::move(queue_.front());
            queue_.pop_front();
        }
        run(*commands);
    }
}

void Executor::run(HostCommandBuffer& commands) {
    const auto start = std::chrono::steady_clock::now();
    std::optional<Failure> failure = failure_of([&] {
        ++num_started_;
        if (num_started_ == settings_.faults.hang) {
            wait_until_closed();
            is_hung_ = true;
        }
        if (is_hung_) {
            fail_closed(commands);
        }
        run_dispatches(commands);
        append_report(commands);
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    commands.finish(seconds.count(), std::move(failure));
}

void Executor::run_dispatches(const HostCommandBuffer& commands) {
    const std::vector<Dispatch>& dispatches = commands.dispatches();
    std::string error = commands.encoding_error();
    error = error.empty() ? find_hazard(dispatches, commands.barriers()) : error;
    if (!error.empty()) {
        fail_wrong_commands(commands, error);
    }
    const bool fails = num_started_ == settings_.faults.failure;
    const size_t num_to_run = fails ? dispatches.size() / 2 : dispatches.size();
    std::vector<size_t> order;
    if (settings_.order_seed) {
        order = random_dispatch_order(dispatches.size(), commands.barriers(), *settings_.order_seed + num_launches_);
    }
    for (size_t i = 0; i < num_to_run; i++) {
        const size_t index = order.empty() ? i : order[i];
        std::optional<uint64_t> seed; // of the threads' order
        if (settings_.order_seed) {
            seed = *settings_.order_seed + num_launches_++;
        }
        error = dispatches[index].run(seed);
        if (!error.empty()) {
            fail_wrong_commands(commands, dispatch_name(dispatches, index) + ": " + error);
        }
    }
    if (fails) {
        fail_command_buffer({commands.label(), "simulated when half of it was done", "GPTOSS_METAL_HOST_FAULTS"});
    }
}

void Executor::append_report(const HostCommandBuffer& commands) const {
    if (!settings_.report.empty()) {
        append_line(settings_.report, report_line(commands.label(), commands.dispatches(), commands.barriers()));
    }
}

} // namespace gptoss::metal::host
