#include "millrace/engine/sync/sleep.h"

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/engine/scheduler/scheduler_impl.h"

namespace millrace {
namespace {

// A wait that a timer ends.
struct TimedWait final : Waitable {
  explicit TimedWait(Nanoseconds wanted) : deadline(wanted), timer("sleep", &OnTimer, this) {}
  static void OnTimer(void* self) { static_cast<TimedWait*>(self)->queue.WakeOne(); }
  void DescribeWait(WaitDescription& description) const override {
    description.object = deadline == kNever ? "a cancel" : StrCat("time ", deadline, " ns");
    description.external = deadline != kNever;
  }

  const Nanoseconds deadline;
  Timer timer;
  WaitQueue queue;
};

}  // namespace

absl::Status CoSleepUntil(Nanoseconds deadline) {
  Scheduler& scheduler = Scheduler::OfRunning();
  const bool is_late = deadline < kNever - kMillisecond && MILLRACE_BUGGIFY("sleep: ends late");
  TimedWait wait(is_late ? deadline + kMillisecond : deadline);
  if (deadline != kNever) scheduler.Arm(wait.timer, wait.deadline);
  absl::Status status = wait.queue.CoWaitCancellable("sleep", &wait);
  scheduler.Disarm(wait.timer);
  return status;
}

absl::Status CoSleepFor(Nanoseconds duration) {
  const Nanoseconds now = Scheduler::OfRunning().Now();
  return CoSleepUntil(duration > kNever - now ? kNever : now + duration);
}

InterruptibleSleep::InterruptibleSleep(Scheduler& scheduler)
    : scheduler_(scheduler), timer_("job.sleep", &OnTimer, this) {}

InterruptibleSleep::~InterruptibleSleep() {
  MILLRACE_CHECK(!is_in_use_, "interruptible sleep destroyed while a coroutine sleeps in it");
}

void InterruptibleSleep::OnTimer(void* self) {
  static_cast<InterruptibleSleep*>(self)->queue_.WakeOne();
}

void InterruptibleSleep::CoSleepUntil(Nanoseconds deadline) {
  // Not queue_.empty(): a sleeper that was woken and has not run yet still owns the timer.
  MILLRACE_CHECK(!is_in_use_, "two coroutines share one interruptible sleep");
  is_in_use_ = true;
  if (deadline != kNever) scheduler_.Arm(timer_, deadline);
  queue_.CoWait(deadline == kNever ? "job.park" : "job.sleep", this);
  is_in_use_ = false;
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
