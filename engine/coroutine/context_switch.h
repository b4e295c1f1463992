// ExecutionContext: a place where execution can be, and be switched away from.
//
// The one file pair that uses Boost.Context and the sanitizers' fiber hooks. One context is the
// scheduler's (the thread's own stack); every other one runs a coroutine on a pooled stack.
// Switching is asymmetric by convention: the scheduler switches into a coroutine, which switches
// back. Internal; not installed.
#ifndef MILLRACE_ENGINE_COROUTINE_CONTEXT_SWITCH_H_
#define MILLRACE_ENGINE_COROUTINE_CONTEXT_SWITCH_H_

#include <cstddef>

#include "millrace/engine/coroutine/stack_pool.h"

namespace millrace {

class ExecutionContext {
 public:
  // Never returns: ends with SwitchOutForEver.
  using Entry = void (*)(void* argument);

  ExecutionContext() = default;
  ExecutionContext(const ExecutionContext&) = delete;
  ExecutionContext& operator=(const ExecutionContext&) = delete;

  // Becomes the context of the calling thread's own stack.
  void InitAsThread();
  // Prepares to run entry(argument) on `stack`, whose upper `reserved_bytes` stay untouched.
  void InitOnStack(Stack stack, size_t reserved_bytes, Entry entry, void* argument);
  // Releases what the sanitizers hold for a context that has been left for ever.
  void Release();

  // Leaves `from` and continues `to`; returns when something switches to `from` again.
  static void Switch(ExecutionContext& from, ExecutionContext& to);
  // Leaves `from` for ever; its stack may be reused once this has switched.
  [[noreturn]] static void SwitchOutForEver(ExecutionContext& from, ExecutionContext& to);

 private:
  friend struct ContextEntry;

  void* position_ = nullptr;  // where to continue; a boost fcontext_t
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
