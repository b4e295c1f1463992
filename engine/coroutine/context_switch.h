// ExecutionContext: a place where execution can be, and be switched away from.
//
// The one file that uses Boost.Context and the sanitizers' fiber hooks. One context is the
// scheduler's (the thread's own stack); every other one runs a coroutine on a pooled stack.
// Switching is asymmetric by convention: the scheduler switches into a coroutine, which switches
// back. Internal; not installed.
//
// The switch is inline: each return instruction between a switch and the code around it is
// mispredicted, because the processor remembers the calls of the other side.
#ifndef MILLRACE_ENGINE_COROUTINE_CONTEXT_SWITCH_H_
#define MILLRACE_ENGINE_COROUTINE_CONTEXT_SWITCH_H_

#include <cstddef>
#include <cstdint>

#include <boost/context/detail/fcontext.hpp>

#include "millrace/engine/coroutine/sanitizer.h"
#include "millrace/engine/coroutine/stack_pool.h"

#if MILLRACE_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if MILLRACE_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace millrace {

class ExecutionContext {
 public:
  // Never returns: ends with SwitchOutForEver.
  using Entry = void (*)(void* argument);

  ExecutionContext() = default;
  ExecutionContext(const ExecutionContext&) = delete;
  ExecutionContext& operator=(const ExecutionContext&) = delete;

  // Becomes the context of the calling thread's own stack.
  void InitAsThread() {
#if MILLRACE_TSAN
    tsan_fiber_ = __tsan_get_current_fiber();
#endif
  }
  // Prepares to run entry(argument) on `stack`, whose upper `reserved_bytes` stay untouched.
  void InitOnStack(Stack stack, size_t reserved_bytes, Entry entry, void* argument) {
    const auto top = reinterpret_cast<uintptr_t>(stack.top() - reserved_bytes) & ~uintptr_t{63};
    const size_t usable = top - reinterpret_cast<uintptr_t>(stack.bottom);
    entry_ = entry;
    argument_ = argument;
    stack_bottom_ = stack.bottom;
    stack_bytes_ = stack.bytes;
    position_ = boost::context::detail::make_fcontext(reinterpret_cast<void*>(top), usable, &Run);
#if MILLRACE_TSAN
    tsan_fiber_ = __tsan_create_fiber(0);
#endif
  }
  // Releases what the sanitizers hold for a context that has been left for ever.
  void Release() {
#if MILLRACE_ASAN
    // It never returned from its outermost frames, so their red zones are still poisoned; the next
    // coroutine puts its state and closure there, or other memory is mapped there.
    __asan_unpoison_memory_region(stack_bottom_, stack_bytes_);
#endif
#if MILLRACE_TSAN
    if (tsan_fiber_ != nullptr) __tsan_destroy_fiber(tsan_fiber_);
    tsan_fiber_ = nullptr;
#endif
  }

  // Leaves `from` and continues `to`; returns when something switches to `from` again.
  static void Switch(ExecutionContext& from, ExecutionContext& to) {
    Jump(from, to, &from.fake_stack_);
  }
  // Leaves `from` for ever; its stack may be reused once this has switched.
  [[noreturn]] static void SwitchOutForEver(ExecutionContext& from, ExecutionContext& to) {
    Jump(from, to, nullptr);
    __builtin_unreachable();
  }

 private:
  using Transfer = boost::context::detail::transfer_t;

  // Where a context runs first. Does not return.
  static void Run(Transfer transfer) {
    Arrive(transfer, nullptr);
    ExecutionContext* self = static_cast<ExecutionContext*>(transfer.data)->next_;
    self->entry_(self->argument_);
    __builtin_unreachable();  // an entry ends with SwitchOutForEver
  }
  // The far side of a jump: the context that was left learns where it stopped. `fake_stack` is the
  // arriving context's.
  static void Arrive(Transfer transfer, void* fake_stack) {
    auto* left = static_cast<ExecutionContext*>(transfer.data);
    left->position_ = transfer.fctx;
#if MILLRACE_ASAN
    // Only ASan knows the bounds of the host's stack, and the host may drive its scheduler from
    // another stack each time (from a coroutine of another engine, say): learn them every time.
    __sanitizer_finish_switch_fiber(fake_stack, &left->stack_bottom_, &left->stack_bytes_);
#else
    (void)fake_stack;
#endif
  }
  // `fake_stack` is where ASan keeps that of `from`, null if `from` never comes back.
  static void Jump(ExecutionContext& from, ExecutionContext& to, void** fake_stack) {
#if MILLRACE_ASAN
    __sanitizer_start_switch_fiber(fake_stack, to.stack_bottom_, to.stack_bytes_);
#else
    (void)fake_stack;
#endif
#if MILLRACE_TSAN
    __tsan_switch_to_fiber(to.tsan_fiber_, 0);
#endif
    from.next_ = &to;
    Arrive(boost::context::detail::jump_fcontext(to.position_, &from), from.fake_stack_);
  }

  void* position_ = nullptr;          // where to continue; a boost fcontext_t
  ExecutionContext* next_ = nullptr;  // whom it was left for; tells Run() which context it is in
  Entry entry_ = nullptr;
  void* argument_ = nullptr;
  // For the sanitizers' hooks.
  const void* stack_bottom_ = nullptr;
  size_t stack_bytes_ = 0;
  void* fake_stack_ = nullptr;
  [[maybe_unused]] void* tsan_fiber_ = nullptr;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_COROUTINE_CONTEXT_SWITCH_H_
