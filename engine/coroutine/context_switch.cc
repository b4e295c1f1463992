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

// What happens on the far side of a jump: the context that was left learns where it stopped.
struct ContextEntry {
  static void Arrive(fcontext::transfer_t transfer) {
    static_cast<ExecutionContext*>(transfer.data)->position_ = transfer.fctx;
  }

  static void Run(fcontext::transfer_t transfer) {
    auto* from = static_cast<ExecutionContext*>(transfer.data);
    from->position_ = transfer.fctx;
    // The context that is being entered for the first time travels in the leaver's argument slot.
    auto* self = static_cast<ExecutionContext*>(from->argument_);
#if MILLRACE_ASAN
    const void* bottom = nullptr;
    size_t bytes = 0;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
    if (from->stack_bottom_ == nullptr) {  // the thread's own stack, whose bounds only ASan knows
      from->stack_bottom_ = bottom;
      from->stack_bytes_ = bytes;
    }
#endif
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
    Arrive(fcontext::jump_fcontext(to.position_, &from));
#if MILLRACE_ASAN
    __sanitizer_finish_switch_fiber(from.fake_stack_, nullptr, nullptr);
#endif
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
#if MILLRACE_ASAN
  // An earlier coroutine on this stack may have left poisoned frames behind.
  __asan_unpoison_memory_region(stack.bottom, usable);
#endif
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
