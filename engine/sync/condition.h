// Condition: wait until a predicate over home-thread state holds.
//
// Whoever changes the state calls Notify() afterwards (set, then wake). Each waiter re-evaluates
// its predicate when it runs, so it returns with the predicate true.
//
//   condition.CoWaitUntil([&] { return slots_in_use_ < slots_max_; });
#ifndef MILLRACE_ENGINE_SYNC_CONDITION_H_
#define MILLRACE_ENGINE_SYNC_CONDITION_H_

#include <string>
#include <string_view>

#include "millrace/engine/sync/wait_queue.h"

namespace millrace {

class Condition final : public Waitable {
 public:
  explicit Condition(std::string_view name) : name_(name) {}

  void Notify() { waiters_.WakeAll(); }
  bool has_waiters() const { return !waiters_.empty(); }

  // One wait, until the next Notify(); the caller re-checks what it waits for.
  void CoWait() MILLRACE_MAY_SUSPEND { waiters_.CoWait("condition.wait", this); }

  // Not cancellable.
  template <typename Predicate>
  void CoWaitUntil(Predicate&& predicate) MILLRACE_MAY_SUSPEND {
    while (!predicate()) waiters_.CoWait("condition.wait", this);
  }
  // CancelledError if the scope is cancelled before the predicate holds.
  template <typename Predicate>
  absl::Status CoWaitUntilCancellable(Predicate&& predicate) MILLRACE_MAY_SUSPEND {
    while (!predicate()) {
      if (absl::Status status = waiters_.CoWaitCancellable("condition.wait", this); !status.ok()) {
        return status;
      }
    }
    return absl::OkStatus();
  }

  void DescribeWait(WaitDescription& description) const override {
    description.object = "condition '" + name_ + "'";
  }

 private:
  const std::string name_;
  WaitQueue waiters_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SYNC_CONDITION_H_
