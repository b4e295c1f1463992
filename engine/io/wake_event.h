// WakeEvent: a bell that any thread rings and the home thread waits for. Internal; not installed.
//
// An eventfd with a flag before it, so that a burst of rings costs one system call. Readable from
// Ring() until Clear(). Whoever rings first makes visible what it rings for; the home thread clears
// first and looks for work after: then no ring is lost.
#ifndef MILLRACE_ENGINE_IO_WAKE_EVENT_H_
#define MILLRACE_ENGINE_IO_WAKE_EVENT_H_

#include <atomic>

#include "absl/status/status.h"
#include "millrace/engine/scheduler/clock.h"

namespace millrace {

class WakeEvent {
 public:
  WakeEvent() = default;
  ~WakeEvent();
  WakeEvent(const WakeEvent&) = delete;
  WakeEvent& operator=(const WakeEvent&) = delete;

  // Before anything else. Unavailable if the host has no descriptor left.
  absl::Status Open();
  int descriptor() const { return descriptor_; }

  // Any thread.
  void Ring();
  // Whether Ring() was called since it was last cleared; nothing is known of the host's own writes.
  bool is_rung() const { return is_rung_.load(std::memory_order_acquire); }
  // Home thread. What was made visible before a ring that this call clears, is visible after it.
  void Clear();
  // The same where the host rings too, writing to the descriptor by itself: always a system call.
  void ClearWithHost();
  // Waits until rung, a signal came or `timeout` has passed (kNever: no limit).
  void Wait(Nanoseconds timeout) const;

 private:
  int descriptor_ = -1;
  std::atomic<bool> is_rung_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_WAKE_EVENT_H_
