// Gate: passers-by go through while it is open, and wait while it is closed. Closings are counted:
// it is open again when there was an Open() for each Close(), whoever calls them.
//
//   gate.Close();          // from now on nobody passes; who is through already is not waited for
//   CoChangeSomething();
//   gate.Open();
//
// It owns nothing. Its owner outlives whoever waits at it (checked), and home thread only.
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
  // Never suspends.
  void Close() { ++closings_; }
  // Undoes one Close(); one too many is a bug of the caller's (checked). Wakes all who wait if it
  // was the last. Never suspends.
  void Open() {
    MILLRACE_CHECK(closings_ > 0, "gate opened more often than closed");
    if (--closings_ == 0) waiters_.WakeAll();
  }
  // Returns while the gate is open; at once, without suspending, if it is. Not cancellable: who is
  // cancelled while he waits is through only when it opens.
  //
  // Nobody has a turn. When it opens, all who wait may go, in whichever order the scheduler runs
  // them, and who comes then passes before them. If it closes again before a woken one has run, he
  // waits on: somebody who closes it often enough can hold others back for ever.
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
