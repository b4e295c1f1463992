// Event: a flag that coroutines wait for. Set() wakes everybody; the flag stays set until Reset().
//
//   Event is_ready("the table is read");
//   ... is_ready.Set();                        // in one coroutine
//   ... is_ready.CoWait();                     // in others, before or after
//
// For something that happens once. Of what comes and goes use a Condition (condition.h), which
// looks again after each wake. Its owner outlives whoever waits for it (checked), and home thread
// only: another thread has it set by Engine::Post().
#ifndef MILLRACE_ENGINE_SYNC_EVENT_H_
#define MILLRACE_ENGINE_SYNC_EVENT_H_

#include <string>
#include <string_view>

#include "millrace/engine/sync/wait_queue.h"

namespace millrace {

class Event final : public Waitable {
 public:
  explicit Event(std::string_view name) : name_(name) {}

  bool is_set() const { return is_set_; }
  // Again on a set flag: nothing happens. Never suspends.
  void Set() {
    is_set_ = true;
    waiters_.WakeAll();
  }
  // Who was woken and has not run yet returns all the same. Never suspends.
  void Reset() { is_set_ = false; }

  // Returns once the flag has been set; at once if it is. Another coroutine may Reset() it between
  // the wake and the return. Not cancellable.
  void CoWait() MILLRACE_MAY_SUSPEND {
    if (!is_set_) waiters_.CoWait("event.wait", this);
  }
  // The same; CancelledError if the scope is cancelled first.
  absl::Status CoWaitCancellable() MILLRACE_MAY_SUSPEND {
    return is_set_ ? absl::OkStatus() : waiters_.CoWaitCancellable("event.wait", this);
  }
  bool has_waiters() const { return !waiters_.empty(); }

  void DescribeWait(WaitDescription& description) const override {
    description.object = "event '" + name_ + "'";
  }

 private:
  const std::string name_;
  bool is_set_ = false;
  WaitQueue waiters_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SYNC_EVENT_H_
