#include "millrace/engine/sync/sleep.h"

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

// A wait that a timer ends.
struct TimedWait final : Waitable {
  explicit TimedWait(Nanoseconds wanted) : deadline(wanted), timer("sleep", &OnTimer, this) {}
  static void OnTimer(void* self) { static_cast<TimedWait*>(self)->queue.WakeOne(); }
  void DescribeWait(WaitDescription& description) const override {
    description.object = StrCat("time ", deadline, " ns");
    description.external = true;
  }

  const Nanoseconds deadline;
  Timer timer;
  WaitQueue queue;
};

}  // namespace

absl::Status CoSleepUntil(Nanoseconds deadline) {
  Scheduler& scheduler = *Scheduler::Current();
  TimedWait wait(deadline);
  scheduler.Arm(wait.timer, deadline);
  absl::Status status = wait.queue.CoWaitCancellable("sleep", &wait);
  scheduler.Disarm(wait.timer);
  return status;
}

absl::Status CoSleepFor(Nanoseconds duration) {
  return CoSleepUntil(Scheduler::Current()->Now() + duration);
}

InterruptibleSleep::InterruptibleSleep(Scheduler& scheduler)
    : scheduler_(scheduler), timer_("job.sleep", &OnTimer, this) {}

InterruptibleSleep::~InterruptibleSleep() { scheduler_.Disarm(timer_); }

void InterruptibleSleep::OnTimer(void* self) {
  static_cast<InterruptibleSleep*>(self)->queue_.WakeOne();
}

void InterruptibleSleep::CoSleepUntil(Nanoseconds deadline) {
  MILLRACE_CHECK(queue_.empty(), "two coroutines share one interruptible sleep");
  if (deadline != kNever) scheduler_.Arm(timer_, deadline);
  queue_.CoWait(deadline == kNever ? "job.park" : "job.sleep", this);
  scheduler_.Disarm(timer_);
}

void InterruptibleSleep::Kick() {
  // Disarmed here and not by the sleeper: between wake and run, has_deadline() must be false.
  if (queue_.WakeOne()) scheduler_.Disarm(timer_);
}

void InterruptibleSleep::DescribeWait(WaitDescription& description) const {
  description.object = timer_.is_armed() ? StrCat("time ", timer_.deadline(), " ns") : "a kick";
  description.external = timer_.is_armed();
}

}  // namespace millrace
