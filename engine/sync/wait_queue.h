// WaitQueue: coroutines parked in a row; the one primitive under every type in engine/sync.
//
// Each wake belongs to exactly one wait: a Waiter lives on the stack of the coroutine that waits,
// and is unlinked by whoever wakes it, so a late wake has nobody to hit (races R25, R49). Rule for
// users: set the state, then wake. Which of several waiters WakeOne() takes is a choice of the
// Decider; without one it is first come, first served. Home thread only.
#ifndef MILLRACE_ENGINE_SYNC_WAIT_QUEUE_H_
#define MILLRACE_ENGINE_SYNC_WAIT_QUEUE_H_

#include <cstddef>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/scheduler/wait.h"

namespace millrace {

class WaitQueue;

// One parked coroutine. Lives on its stack.
struct Waiter {
  CoroutineState* coroutine = nullptr;
  WaitQueue* queue = nullptr;
  bool was_cancelled = false;
  ListLink link;
};

class WaitQueue {
 public:
  WaitQueue() = default;
  ~WaitQueue() = default;  // nobody may be waiting (checked by the list)
  WaitQueue(const WaitQueue&) = delete;
  WaitQueue& operator=(const WaitQueue&) = delete;

  // Parks until woken. `yield_point` is a literal; `on` says what is waited for.
  void CoWait(const char* yield_point, const Waitable* on) MILLRACE_MAY_SUSPEND;
  // The same, but returns CancelledError as soon as the coroutine's scope is cancelled; at once if
  // it already is.
  absl::Status CoWaitCancellable(const char* yield_point, const Waitable* on) MILLRACE_MAY_SUSPEND;

  // Wakes one waiter; false if there was none.
  bool WakeOne() { return WakeOneAndName() != nullptr; }
  // The same, and says whom it woke: for handing over ownership before the woken coroutine runs.
  const Coroutine* WakeOneAndName();
  // Wakes everybody who waits now; returns how many. Asks no Decider: who of the woken runs first
  // is the scheduler's choice anyway.
  size_t WakeAll();

  bool empty() const { return waiters_.empty(); }
  size_t size() const { return waiters_.size(); }

 private:
  friend class TaskScope;
  void Cancel(Waiter& waiter);
  void Wake(Waiter& waiter);

  IntrusiveList<Waiter, &Waiter::link> waiters_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SYNC_WAIT_QUEUE_H_
