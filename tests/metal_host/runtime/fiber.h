// One thread of execution on a stack of its own, switched to and from explicitly: what a GPU thread runs on.
//
// With boost's fcontext a switch takes some 10 ns; where boost is missing, POSIX's ucontext does the same in some 300
// ns (it enters the kernel to save the signal mask). Under AddressSanitizer every switch is announced.
#pragma once

#include <cstddef>

#if METAL_HOST_UCONTEXT
#include <ucontext.h>
#else
#include <boost/context/detail/fcontext.hpp>
#endif

#if METAL_HOST_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

namespace metal_host {

class fiber {
public:
    // Prepares the fiber to run `entry`, which must never return, on the stack of `stack_size` bytes at `stack`.
    void prepare(void (*entry)(), std::byte* stack, std::size_t stack_size) {
        stack_ = stack;
        stack_size_ = stack_size;
        entry_ = entry;
        shadow_frames_ = nullptr;
#if METAL_HOST_UCONTEXT
        getcontext(&context_);
        context_.uc_stack.ss_sp = stack;
        context_.uc_stack.ss_size = stack_size;
        context_.uc_link = nullptr;
        makecontext(&context_, &fiber::start, 0);
#else
        context_ = boost::context::detail::make_fcontext(stack + stack_size, stack_size, &fiber::start);
#endif
    }

    // Leaves `from`, which is the running fiber (or the thread's own stack), for `to`. Returns when something switches
    // back to `from`; with `last` set, nothing ever will.
    static void switch_between(fiber& from, fiber& to, bool last = false) {
        announce_departure(from, to, last);
#if METAL_HOST_UCONTEXT
        departed = &from;
        arriving = &to;
        swapcontext(&from.context_, &to.context_);
#else
        arriving = &to;
        const boost::context::detail::transfer_t transfer = boost::context::detail::jump_fcontext(to.context_, &from);
        departed = static_cast<fiber*>(transfer.data);
        departed->context_ = transfer.fctx;
#endif
        announce_arrival(from);
    }

private:
#if METAL_HOST_UCONTEXT
    static void start() {
#else
    static void start(boost::context::detail::transfer_t transfer) {
        departed = static_cast<fiber*>(transfer.data);
        departed->context_ = transfer.fctx;
#endif
        announce_arrival(*arriving);
        arriving->entry_();
    }

    static void announce_departure([[maybe_unused]] fiber& from,
                                   [[maybe_unused]] fiber& to,
                                   [[maybe_unused]] bool last) {
#if METAL_HOST_ASAN
        __sanitizer_start_switch_fiber(last ? nullptr : &from.shadow_frames_, to.stack_, to.stack_size_);
#endif
    }

    // Also learns where the departed fiber's stack is: of the thread's own stack that is not known otherwise.
    static void announce_arrival([[maybe_unused]] fiber& here) {
#if METAL_HOST_ASAN
        const void* stack = nullptr;
        std::size_t stack_size = 0;
        __sanitizer_finish_switch_fiber(here.shadow_frames_, &stack, &stack_size);
        departed->stack_ = static_cast<const std::byte*>(stack);
        departed->stack_size_ = stack_size;
#endif
    }

    inline static fiber* departed = nullptr;
    inline static fiber* arriving = nullptr;

#if METAL_HOST_UCONTEXT
    ucontext_t context_{};
#else
    boost::context::detail::fcontext_t context_ = nullptr;
#endif
    const std::byte* stack_ = nullptr;
    std::size_t stack_size_ = 0;
    void (*entry_)() = nullptr;
    [[maybe_unused]] void* shadow_frames_ = nullptr; // AddressSanitizer's, of a fiber that will be resumed
};

} // namespace metal_host
