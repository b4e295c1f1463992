#include "millrace/engine/coroutine/context_switch.h"

#include <cstdint>
#include <cstdlib>

#include <boost/context/detail/fcontext.hpp>

#include "millrace/engine/base/check.h"
#include "millrace/engine/coroutine/sanitizer.h"

#if MILLRACE_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if MILLRACE_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace millrace {

namespace fcontext = boost::context::detail;

// What happens on the far side of a jump.
struct ContextEntry {
  // The context that was left learns where it stopped. `fake_stack` is the arriving context's.
  static ExecutionContext* Arrive(fcontext::transfer_t transfer, void* fake_stack) {
    auto* left = static_cast<ExecutionContext*>(transfer.data);
    left->position_ = transfer.fctx;
#if MILLRACE_ASAN
    // Only ASan knows the bounds of the host's stack, and the host may drive its scheduler from
    // another stack each time (from a coroutine of another engine, say): learn them every time.
    __sanitizer_finish_switch_fiber(fake_stack, &left->stack_bottom_, &left->stack_bytes_);
#else
    (void)fake_stack;
#endif
    return left;
  }

  static void Run(fcontext::transfer_t transfer) {
    // The context that is being entered for the first time travels in the leaver's argument slot.
    auto* self = static_cast<ExecutionContext*>(Arrive(transfer, nullptr)->argument_);
    self->entry_(self->argument_);
    std::abort();  // unreachable: an entry ends with SwitchOutForEver
  }

  static void Jump(ExecutionContext& from, ExecutionContext& to, bool for_ever) {
#if MILLRACE_ASAN
    __sanitizer_start_switch_fiber(for_ever ? nullptr : &from.fake_stack_, to.stack_bottom_,
                                   to.stack_bytes_);
#else
    (void)for_ever;
#endif
#if MILLRACE_TSAN
    __tsan_switch_to_fiber(to.tsan_fiber_, 0);
#endif
    if (from.entry_ == nullptr) from.argument_ = &to;  // only the thread's context has no entry
    Arrive(fcontext::jump_fcontext(to.position_, &from), from.fake_stack_);
  }
};

void ExecutionContext::InitAsThread() {
#if MILLRACE_TSAN
  tsan_fiber_ = __tsan_get_current_fiber();
#endif
}

void ExecutionContext::InitOnStack(Stack stack, size_t reserved_bytes, Entry entry,
                                   void* argument) {
  const auto top = reinterpret_cast<uintptr_t>(stack.top() - reserved_bytes) & ~uintptr_t{63};
  const size_t usable = top - reinterpret_cast<uintptr_t>(stack.bottom);
  entry_ = entry;
  argument_ = argument;
  stack_bottom_ = stack.bottom;
  stack_bytes_ = stack.bytes;
  position_ = fcontext::make_fcontext(reinterpret_cast<void*>(top), usable, &ContextEntry::Run);
#if MILLRACE_TSAN
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
}

void ExecutionContext::Release() {
#if MILLRACE_TSAN
  if (tsan_fiber_ != nullptr) __tsan_destroy_fiber(tsan_fiber_);
  tsan_fiber_ = nullptr;
#endif
}

void ExecutionContext::Switch(ExecutionContext& from, ExecutionContext& to) {
  ContextEntry::Jump(from, to, /*for_ever=*/false);
}

void ExecutionContext::SwitchOutForEver(ExecutionContext& from, ExecutionContext& to) {
  ContextEntry::Jump(from, to, /*for_ever=*/true);
  std::abort();
}

}  // namespace millrace
