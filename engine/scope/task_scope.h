// TaskScope: the only way to start a coroutine, and the guarantee that it ends before its scope.
//
// A scope joins what it started: CoJoin() returns when all of them are done, with the first error.
// Between Spawn() and CoJoin() nothing may return early: keep the status, join, then return it.
// The first error cancels the siblings. The destructor checks that nothing is alive (a suspended
// coroutine is never destroyed). Cancelling a scope cancels the scopes opened by its coroutines
// too.
//
//   TaskScope scope("copy");
//   scope.Spawn("copy/worker", [&]() MILLRACE_MAY_SUSPEND { return CoCopyPiece(piece); });
//   MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
//
// A body returns absl::Status or void; it runs later, from the run queue, in spawning order. Home
// thread only. Cancellation surfaces as CancelledError from functions documented as cancellable; a
// body that never calls one simply finishes.
#ifndef MILLRACE_ENGINE_SCOPE_TASK_SCOPE_H_
#define MILLRACE_ENGINE_SCOPE_TASK_SCOPE_H_

#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/scheduler/wait.h"
#include "millrace/engine/sync/wait_queue.h"

namespace millrace {

class Scheduler;

// A coroutine as a member of its scope. Internal.
struct ScopeMember {
  ListLink link;
};

class TaskScope final : public Waitable {
 public:
  // In a coroutine: a child of the current coroutine, cancelled with it.
  explicit TaskScope(std::string_view name);
  // Outside coroutines, or for a scope that outlives the coroutine that creates it.
  TaskScope(Scheduler& scheduler, std::string_view name);
  ~TaskScope();
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;

  static constexpr size_t kClosureBytesMax = 4096;

  // Starts a coroutine. False (and the scope fails with ResourceExhausted) if no stack could be
  // had. Copying the body must not throw: that would leave a half-made coroutine behind.
  template <typename Body>
  bool Spawn(std::string_view name, Body&& body) noexcept {
    using Closure = std::decay_t<Body>;
    static_assert(sizeof(Closure) <= kClosureBytesMax,
                  "the closure lives on the coroutine's stack: capture large state by reference");
    void* memory = Start(name, sizeof(Closure), alignof(Closure), &RunBody<Closure>);
    if (memory == nullptr) return false;
    new (memory) Closure(std::forward<Body>(body));
    return true;
  }

  // Waits until all coroutines of the scope are done; returns the first error. Not cancellable: a
  // cancelled scope still waits for its coroutines to unwind.
  absl::Status CoJoin() MILLRACE_MAY_SUSPEND;
  // The same for host code, once live() is 0 (checked).
  absl::Status Finish();

  // Asks all coroutines of the scope to end. Idempotent; later spawns start cancelled.
  void Cancel();
  bool is_cancelled() const { return is_cancelled_; }

  size_t live() const { return children_.size(); }
  const std::string& name() const { return name_; }

  void DescribeWait(WaitDescription& description) const override;

 private:
  friend class Scheduler;
  friend struct CoroutineState;

  template <typename Closure>
  static void RunBody(void* closure) MILLRACE_NO_ANALYSIS {
    Closure& body = *static_cast<Closure*>(closure);
    AssertInCoroutine();
    if constexpr (std::is_void_v<decltype(body())>) {
      body();
      body.~Closure();
    } else {
      absl::Status status = body();
      body.~Closure();
      ReportOfRunning(std::move(status));
    }
  }
  static void ReportOfRunning(absl::Status status);

  // Where to construct the closure; null, and the scope has failed, if there is no stack.
  void* Start(std::string_view name, size_t bytes, size_t alignment, void (*body)(void*));
  void Fail(absl::Status status);
  std::string DescribeAlive() const;

  Scheduler& scheduler_;
  const std::string name_;
  absl::Status status_;
  CoroutineState* opener_ = nullptr;  // whose cancellation this scope inherits
  IntrusiveList<ScopeMember, &ScopeMember::link> children_;
  ListLink opener_link_;
  WaitQueue joiners_;
  bool is_cancelled_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SCOPE_TASK_SCOPE_H_
