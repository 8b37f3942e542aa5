#include "scheduler.h"

#include <algorithm>
#include <bit>

#include "trace.h"

namespace metal_host {

namespace detail {

thread_state* running = nullptr;
threadgroup_state running_threadgroup;

} // namespace detail

namespace {

bool same_text(const char* a, const char* b) {
    return a == b || std::strcmp(a, b) == 0;
}

bool same_site(const site& a, const site& b) {
    return a.line == b.line && same_text(a.operation, b.operation) && same_text(a.file, b.file);
}

bool ends_with_path(std::string_view path, std::string_view end) {
    return path.ends_with(end) && (path.size() == end.size() || path[path.size() - end.size() - 1] == '/');
}

std::string describe(const site& where) {
    return std::string(where.operation) + " at " + location(where);
}

} // namespace

scheduler& the_scheduler() {
    static scheduler instance;
    return instance;
}

scheduler::scheduler()
    : stacks_(most_threads_per_threadgroup),
      threads_(std::make_unique<thread_record[]>(most_threads_per_threadgroup)),
      simdgroups_(std::make_unique<simdgroup_record[]>(most_threads_per_threadgroup / simdgroup_width)) {}

void scheduler::begin_launch(const char* kernel,
                             void (*thread)(),
                             const skipped_barrier* skip,
                             std::optional<uint64_t> seed) {
    kernel_ = kernel;
    thread_ = thread;
    skip_ = skip;
    random_ = seed.has_value();
    generator_ = generator(seed.value_or(0));
    error_.clear();
    num_switches_ = 0;
}

bool scheduler::run(const threadgroup_state& threadgroup) {
    detail::running_threadgroup = threadgroup;
    num_threads_ = static_cast<uint32_t>(threadgroup.threads.count());
    num_simdgroups_ = threadgroup.num_simdgroups;
    num_finished_ = 0;
    num_at_barrier_ = 0;
    for (uint32_t s = 0; s < num_simdgroups_; ++s) {
        const uint32_t num_lanes = std::min(simdgroup_width, num_threads_ - s * simdgroup_width);
        const uint32_t all = num_lanes == simdgroup_width ? ~0u : (1u << num_lanes) - 1;
        simdgroup_record& simdgroup = simdgroups_[s];
        simdgroup.num_completed = 0;
        simdgroup.live = all;
        simdgroup.ready = all;
        simdgroup.at_operation = 0;
        simdgroup.at_barrier = 0;
    }
    const extent threads = threadgroup.threads;
    uint32_t i = 0;
    for (uint32_t z = 0; z < threads.z; ++z) {
        for (uint32_t y = 0; y < threads.y; ++y) {
            for (uint32_t x = 0; x < threads.x; ++x, ++i) {
                threads_[i].state = {i, i % simdgroup_width, i / simdgroup_width, {x, y, z}};
                threads_[i].execution.prepare(&scheduler::run_thread, stacks_.stack(i), stacks_.usable_size(i));
            }
        }
    }
    current_simdgroup_ = 0;
    last_lane_ = 0;
    thread_record* first = choose_next();
    detail::running = &first->state;
    fiber::switch_between(launcher_, first->execution);
    detail::running = nullptr;
    if (!error_.empty()) {
        stacks_.remove_frames(num_threads_);
    }
    return error_.empty();
}

void scheduler::run_thread() {
    scheduler& machine = the_scheduler();
    machine.thread_();
    machine.finish_thread();
}

void scheduler::finish_thread() {
    thread_record& thread = running();
    simdgroups_[thread.state.simdgroup].live &= ~(1u << thread.state.lane);
    ++num_finished_;
    leave(thread, true);
}

scheduler::thread_record& scheduler::running() {
    return threads_[detail::running->index];
}

scheduler::simdgroup_record& scheduler::running_simdgroup() {
    return simdgroups_[detail::running->simdgroup];
}

detail::exchange_area& scheduler::begin_exchange() {
    simdgroup_record& simdgroup = running_simdgroup();
    return simdgroup.areas[simdgroup.num_completed % 2];
}

// Goes on with whichever thread is to run next; returns when it is this thread's turn again.
void scheduler::leave(thread_record& from, bool last) {
    last_lane_ = from.state.lane;
    thread_record* next = choose_next();
    if (next == &from) {
        return;
    }
    ++num_switches_;
    detail::running = next != nullptr ? &next->state : nullptr;
    fiber::switch_between(from.execution, next != nullptr ? next->execution : launcher_, last);
}

void scheduler::meet_simdgroup(const site& where, std::optional<uint32_t> fenced) {
    if (fenced && skips(where)) {
        return;
    }
    thread_record& thread = running();
    simdgroup_record& simdgroup = simdgroups_[thread.state.simdgroup];
    if (simdgroup.at_operation == 0) {
        simdgroup.operation = where;
        simdgroup.fenced = fenced;
    } else if (!same_site(simdgroup.operation, where)) {
        stop("lanes of one simdgroup diverge: this lane is at " + describe(where) + ", lane " +
             std::to_string(std::countr_zero(simdgroup.at_operation)) + " waits at " + describe(simdgroup.operation));
    }
    if (simdgroup.at_barrier != 0) {
        stop("lanes of one simdgroup diverge: this lane is at " + describe(where) + ", lane " +
             std::to_string(std::countr_zero(simdgroup.at_barrier)) + " waits at " + describe(barrier_));
    }
    simdgroup.at_operation |= 1u << thread.state.lane;
    leave(thread, false);
}

void scheduler::meet_threadgroup(const site& where, uint32_t fenced) {
    if (skips(where)) {
        return;
    }
    thread_record& thread = running();
    simdgroup_record& simdgroup = simdgroups_[thread.state.simdgroup];
    if (simdgroup.at_operation != 0) {
        stop("lanes of one simdgroup diverge: this lane is at " + describe(where) + ", lane " +
             std::to_string(std::countr_zero(simdgroup.at_operation)) + " waits at " + describe(simdgroup.operation));
    }
    if (num_at_barrier_ == 0) {
        barrier_ = where;
        barrier_fenced_ = fenced;
    } else if (!same_site(barrier_, where)) {
        stop("threads of one threadgroup diverge: this thread is at " + describe(where) + ", " +
             std::to_string(num_at_barrier_) + " other(s) wait at " + describe(barrier_));
    }
    simdgroup.at_barrier |= 1u << thread.state.lane;
    ++num_at_barrier_;
    leave(thread, false);
}

bool scheduler::skips(const site& where) const {
    return skip_ != nullptr && where.line == skip_->line && ends_with_path(where.file, skip_->file);
}

// Whether some lane can run, at once or after the lanes' meeting is completed.
bool scheduler::can_run(const simdgroup_record& simdgroup) const {
    return simdgroup.ready != 0 || (simdgroup.live != 0 && simdgroup.at_operation == simdgroup.live);
}

// Sets current_simdgroup_ to one that can run: a random one, or the next in turn. False: there is none.
bool scheduler::find_simdgroup() {
    const uint32_t start = random_ ? generator_.below(num_simdgroups_) : current_simdgroup_;
    for (uint32_t i = 0; i < num_simdgroups_; ++i) {
        const uint32_t s = (start + i) % num_simdgroups_;
        if (can_run(simdgroups_[s])) {
            current_simdgroup_ = s;
            last_lane_ = 0;
            return true;
        }
    }
    return false;
}

uint32_t scheduler::choose_lane(const simdgroup_record& simdgroup) {
    uint32_t candidates = simdgroup.ready;
    if (random_) {
        for (uint32_t i = generator_.below(static_cast<uint32_t>(std::popcount(candidates))); i > 0; --i) {
            candidates &= candidates - 1;
        }
        return static_cast<uint32_t>(std::countr_zero(candidates));
    }
    // In turn from the lane that ran last: when it completed the meeting, it goes on without a switch.
    const uint32_t from_last = candidates & (~0u << last_lane_);
    return static_cast<uint32_t>(std::countr_zero(from_last != 0 ? from_last : candidates));
}

// Null: back to the launcher, because all threads have finished or the launch has failed.
scheduler::thread_record* scheduler::choose_next() {
    for (;;) {
        simdgroup_record* simdgroup = &simdgroups_[current_simdgroup_];
        if (simdgroup->ready == 0) {
            if (simdgroup->live != 0 && simdgroup->at_operation == simdgroup->live) {
                complete_operation(*simdgroup);
                if (random_) {
                    find_simdgroup();
                    simdgroup = &simdgroups_[current_simdgroup_];
                }
            } else if (find_simdgroup()) {
                simdgroup = &simdgroups_[current_simdgroup_];
            } else if (num_finished_ == num_threads_ || !complete_barrier()) {
                return nullptr;
            }
            continue;
        }
        const uint32_t lane = choose_lane(*simdgroup);
        simdgroup->ready &= ~(1u << lane);
        return &threads_[current_simdgroup_ * simdgroup_width + lane];
    }
}

void scheduler::complete_operation(simdgroup_record& simdgroup) {
    detail::exchange_area& area = simdgroup.areas[simdgroup.num_completed % 2];
    area.live_mask = simdgroup.live; // only now: lanes that returned while others waited do not take part
    area.has_result = false;
    ++simdgroup.num_completed;
    simdgroup.ready = simdgroup.live;
    simdgroup.at_operation = 0;
#if METAL_HOST_TRACE
    if (simdgroup.fenced) {
        trace::simdgroup_barrier_completed(current_simdgroup_, *simdgroup.fenced, simdgroup.operation);
    }
    trace::simdgroup_converged(current_simdgroup_);
#endif
}

// Nothing can run, so all threads that are left wait at a threadgroup barrier. False: not all threads came.
bool scheduler::complete_barrier() {
    if (num_at_barrier_ != num_threads_) {
        uint32_t missing = 0;
        while (simdgroups_[missing / simdgroup_width].at_barrier >> missing % simdgroup_width & 1u) {
            ++missing;
        }
        detail::running = nullptr;
        stop(describe(barrier_) + " is reached by " + std::to_string(num_at_barrier_) + " of " +
             std::to_string(num_threads_) + " threads: thread " + std::to_string(missing) +
             " has returned from the kernel");
        return false;
    }
    num_at_barrier_ = 0;
#if METAL_HOST_TRACE
    if (const std::string error = trace::threadgroup_barrier_completed(barrier_fenced_, barrier_); !error.empty()) {
        detail::running = nullptr;
        stop(error);
        return false;
    }
#endif
    for (uint32_t s = 0; s < num_simdgroups_; ++s) {
        simdgroups_[s].ready = simdgroups_[s].live;
        simdgroups_[s].at_barrier = 0;
#if METAL_HOST_TRACE
        trace::simdgroup_converged(s);
#endif
    }
    if (random_) {
        find_simdgroup();
    }
    return true;
}

std::string scheduler::describe_running_thread() const {
    const auto text = [](const extent& e) {
        return "(" + std::to_string(e.x) + ", " + std::to_string(e.y) + ", " + std::to_string(e.z) + ")";
    };
    std::string description = "kernel " + std::string(kernel_);
    description += ", threadgroup " + text(detail::running_threadgroup.position);
    if (detail::running != nullptr) {
        const thread_state& thread = *detail::running;
        description += ", thread " + std::to_string(thread.index) + " (lane " + std::to_string(thread.lane) +
                       " of simdgroup " + std::to_string(thread.simdgroup) + ")";
    }
    return description;
}

std::byte* scheduler::stack_top_of_running_thread() {
    const uint32_t index = detail::running->index;
    return stacks_.stack(index) + stacks_.usable_size(index);
}

void scheduler::stop(std::string_view text) {
    if (error_.empty()) {
        error_ = describe_running_thread() + ": " + std::string(text);
    }
    if (detail::running != nullptr) {
        thread_record& thread = running();
        detail::running = nullptr;
        fiber::switch_between(thread.execution, launcher_, true);
    }
}

} // namespace metal_host
