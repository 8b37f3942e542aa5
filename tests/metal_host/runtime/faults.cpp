#include "faults.h"

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <pthread.h>
#include <ucontext.h>

#include "machine.h"
#include "scheduler.h"
#include "threadgroup_memory.h"

namespace metal_host {

namespace {

constexpr int signals[] = {SIGSEGV, SIGBUS, SIGFPE};
constexpr std::size_t signal_stack_size = 64 << 10;

std::function<std::string(const void*)> describe_device_memory;
struct sigaction previous[std::size(signals)];
stack_t previous_stack;
std::unique_ptr<std::byte[]> signal_stack;
pthread_t launching_thread; // others may fault at the same time, and not in a kernel

// The last one.
struct {
    int signal;
    const void* address;
    const void* program_counter;
} fault;

std::string describe_fault() {
    const std::string at = " at " + code_location(fault.program_counter);
    return (fault.signal == SIGFPE ? "integer division by zero, or one whose quotient overflows,"
                                   : "access to " + describe_address(fault.address)) +
           at;
}

// Where a faulting thread goes on when the signal handler has returned, at the top of its own stack: it leaves it for
// good.
[[noreturn]] void leave_faulting_thread() {
    fail(describe_fault());
}

// Makes the interrupted thread call leave_faulting_thread() when the signal handler returns. False: not on this
// processor.
bool redirect([[maybe_unused]] ucontext_t* context, [[maybe_unused]] std::byte* stack_top) {
    const auto target = reinterpret_cast<uintptr_t>(&leave_faulting_thread);
#if defined(__linux__) && defined(__x86_64__)
    // As after a call: 8 below a multiple of 16.
    context->uc_mcontext.gregs[REG_RSP] = static_cast<greg_t>(reinterpret_cast<uintptr_t>(stack_top) / 16 * 16 - 8);
    context->uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(target);
    return true;
#elif defined(__linux__) && defined(__aarch64__)
    context->uc_mcontext.sp = reinterpret_cast<uintptr_t>(stack_top) / 16 * 16;
    context->uc_mcontext.pc = target;
    return true;
#else
    (void)target;
    return false;
#endif
}

const void* program_counter_of([[maybe_unused]] const ucontext_t* context) {
#if defined(__linux__) && defined(__x86_64__)
    return reinterpret_cast<const void*>(context->uc_mcontext.gregs[REG_RIP]);
#elif defined(__linux__) && defined(__aarch64__)
    return reinterpret_cast<const void*>(context->uc_mcontext.pc);
#else
    return nullptr;
#endif
}

void handle(int signal, siginfo_t* information, void* interrupted) {
    auto* context = static_cast<ucontext_t*>(interrupted);
    if (is_thread_running() && pthread_equal(pthread_self(), launching_thread) != 0) {
        fault = {signal, information->si_addr, program_counter_of(context)};
        scheduler& machine = the_scheduler();
        if (redirect(context, machine.stack_top_of_running_thread())) {
            return;
        }
    }
    for (std::size_t i = 0; i < std::size(signals); ++i) {
        if (signals[i] == signal) {
            sigaction(signal, &previous[i], nullptr); // the instruction is tried again, and then faults for whom it may
        }
    }
}

} // namespace

std::string describe_address(const void* address) {
    const stack_pool& stacks = the_scheduler().stacks();
    if (const int64_t index = stacks.overflowed(address); index >= 0) {
        return "memory beyond the thread's stack of " +
               std::to_string(stacks.usable_size(static_cast<uint32_t>(index))) +
               " bytes (a large array of its own, or recursion?)";
    }
    if (stacks.contains(address)) {
        return "memory outside of the thread's own variables";
    }
    std::string where = describe_device_memory(address);
    where = where.empty() ? the_threadgroup_memory().describe(address) : where;
    if (where.empty()) {
        char text[96];
        std::snprintf(text, sizeof text, "address %p, where there is nothing (an unbound buffer?)", address);
        where = text;
    }
    return where;
}

fault_handler::fault_handler(std::function<std::string(const void*)> describe) {
    describe_device_memory = std::move(describe);
    launching_thread = pthread_self();
    if (signal_stack == nullptr) {
        signal_stack = std::make_unique<std::byte[]>(signal_stack_size);
    }
    stack_t stack{};
    stack.ss_sp = signal_stack.get();
    stack.ss_size = signal_stack_size;
    sigaltstack(&stack, &previous_stack);
    struct sigaction action{};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    for (std::size_t i = 0; i < std::size(signals); ++i) {
        sigaction(signals[i], &action, &previous[i]);
    }
}

fault_handler::~fault_handler() {
    for (std::size_t i = 0; i < std::size(signals); ++i) {
        sigaction(signals[i], &previous[i], nullptr);
    }
    sigaltstack(&previous_stack, nullptr);
    describe_device_memory = nullptr;
}

} // namespace metal_host
