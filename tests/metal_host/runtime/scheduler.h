// Runs one threadgroup: lets its threads run one at a time, and brings them together at barriers and simdgroup
// operations.
//
// Threads switch directly to each other; whoever stops decides who is next. Without a seed, a simdgroup runs until it
// waits at a threadgroup barrier, its lanes in turn. With a seed, each next lane and, whenever a simdgroup's lanes have
// met, each next simdgroup is drawn at random: results must not depend on it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fiber.h"
#include "generator.h"
#include "machine.h"
#include "stack_pool.h"

namespace metal_host {

inline constexpr uint32_t most_threads_per_threadgroup = 1024;

// A barrier that does nothing in this launch: what a mutation test deletes. The file's name may leave out its folders.
struct skipped_barrier {
    std::string file;
    int line = 0;
};

class scheduler {
public:
    scheduler();

    // Before the first threadgroup of a launch. `thread` runs the kernel for current().
    void begin_launch(const char* kernel, void (*thread)(), const skipped_barrier* skip, std::optional<uint64_t> seed);

    // Runs all threads of a threadgroup to their end. False: the launch failed, and error() says why.
    bool run(const threadgroup_state& threadgroup);

    // Stops the launch: from a thread, switches away and never returns; outside threads, only keeps the text.
    void stop(std::string_view text);
    const std::string& error() const { return error_; }

    uint64_t num_switches() const { return num_switches_; }
    const stack_pool& stacks() const { return stacks_; }
    std::string describe_running_thread() const;
    std::byte* stack_top_of_running_thread();

    // machine.h's functions, for the running thread.
    detail::exchange_area& begin_exchange();
    void meet_simdgroup(const site& where, std::optional<uint32_t> fenced);
    void meet_threadgroup(const site& where, uint32_t fenced);

private:
    struct thread_record {
        thread_state state;
        fiber execution;
    };

    struct simdgroup_record {
        detail::exchange_area areas[2];
        uint32_t num_completed = 0; // operations; the next one takes place in areas[num_completed % 2]
        // Masks of lanes. A live lane is in exactly one of the other three, except the running one, which is in none.
        uint32_t live = 0;
        uint32_t ready = 0;
        uint32_t at_operation = 0;
        uint32_t at_barrier = 0;
        site operation{};               // where at_operation waits
        std::optional<uint32_t> fenced; // of that, if it is a barrier
    };

    static void run_thread();
    void finish_thread();
    void leave(thread_record& from, bool last);
    thread_record* choose_next();
    uint32_t choose_lane(const simdgroup_record& simdgroup);
    bool can_run(const simdgroup_record& simdgroup) const;
    bool find_simdgroup();
    void complete_operation(simdgroup_record& simdgroup);
    bool complete_barrier();
    bool skips(const site& where) const;
    thread_record& running();
    simdgroup_record& running_simdgroup();

    stack_pool stacks_;
    std::unique_ptr<thread_record[]> threads_;       // [most_threads_per_threadgroup]
    std::unique_ptr<simdgroup_record[]> simdgroups_; // [most_threads_per_threadgroup / simdgroup_width]
    fiber launcher_;
    uint32_t num_threads_ = 0;
    uint32_t num_simdgroups_ = 0;
    uint32_t current_simdgroup_ = 0; // that choose_next() goes on with
    uint32_t last_lane_ = 0;         // that ran
    uint32_t num_finished_ = 0;      // threads that have returned from the kernel
    uint32_t num_at_barrier_ = 0;    // threads that wait at threadgroup_barrier
    site barrier_{};                 // where they wait
    uint32_t barrier_fenced_ = 0;

    const char* kernel_ = "";
    void (*thread_)() = nullptr;
    const skipped_barrier* skip_ = nullptr;
    bool random_ = false;
    generator generator_;
    std::string error_;
    uint64_t num_switches_ = 0;
};

// The one that runs.
scheduler& the_scheduler();

} // namespace metal_host
