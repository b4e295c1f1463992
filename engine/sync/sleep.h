// Sleeping in the engine's time (simulated in tests).
#ifndef MILLRACE_ENGINE_SYNC_SLEEP_H_
#define MILLRACE_ENGINE_SYNC_SLEEP_H_

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/scheduler/clock.h"
#include "millrace/engine/scheduler/scheduler.h"
#include "millrace/engine/sync/wait_queue.h"

namespace millrace {

// Returns at `deadline` (kNever: never), or with CancelledError as soon as the coroutine's scope is
// cancelled. In a coroutine only (checked).
absl::Status CoSleepUntil(Nanoseconds deadline) MILLRACE_MAY_SUSPEND;
absl::Status CoSleepFor(Nanoseconds duration) MILLRACE_MAY_SUSPEND;

// A sleep that others may end early: jobs sleep in it, and set-speed, resume and cancel kick it.
class InterruptibleSleep final : public Waitable {
 public:
  explicit InterruptibleSleep(Scheduler& scheduler);
  ~InterruptibleSleep();

  // Returns at `deadline` (kNever: only when kicked) or after Kick(). One sleeper at a time.
  void CoSleepUntil(Nanoseconds deadline) MILLRACE_MAY_SUSPEND;
  // Ends the current sleep, if there is one; a kick with nobody asleep is not remembered.
  void Kick();
  bool is_sleeping() const { return !queue_.empty(); }
  // Whether the sleeper waits for a deadline rather than for a kick only.
  bool has_deadline() const { return timer_.is_armed(); }

  void DescribeWait(WaitDescription& description) const override;

 private:
  static void OnTimer(void* self);

  Scheduler& scheduler_;
  Timer timer_;
  WaitQueue queue_;
  bool is_in_use_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SYNC_SLEEP_H_
