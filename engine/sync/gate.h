// Gate: passers-by go through while it is open, and wait while it is closed. Closings are counted.
#ifndef MILLRACE_ENGINE_SYNC_GATE_H_
#define MILLRACE_ENGINE_SYNC_GATE_H_

#include <string>
#include <string_view>

#include "millrace/engine/base/check.h"
#include "millrace/engine/sync/wait_queue.h"

namespace millrace {

class Gate final : public Waitable {
 public:
  explicit Gate(std::string_view name) : name_(name) {}

  bool is_open() const { return closings_ == 0; }
  void Close() { ++closings_; }
  // Undoes one Close(). Never suspends.
  void Open() {
    MILLRACE_CHECK(closings_ > 0, "gate opened more often than closed");
    if (--closings_ == 0) waiters_.WakeAll();
  }
  // Re-checks after each wake: the gate may have closed again before this coroutine ran.
  void CoPass() MILLRACE_MAY_SUSPEND {
    while (closings_ > 0) waiters_.CoWait("gate.pass", this);
  }

  void DescribeWait(WaitDescription& description) const override {
    description.object = "gate '" + name_ + "'";
  }

 private:
  const std::string name_;
  int closings_ = 0;
  WaitQueue waiters_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SYNC_GATE_H_
