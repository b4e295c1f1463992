// BusyWait: whether it pays to look for something again and again before going to sleep for it.
//
// A processor that sleeps takes longer to wake than a short request takes to be served: on a host
// with nothing else to do a guest with one request at a time waits for that twice. Looking for some
// microseconds instead pays where who is waited for runs on another processor meanwhile, and is
// lost time where he needs this one, or thinks for longer. Which it is shows only by trying: what
// has paid is done again, what has not is tried ever more seldom.
//
//   if (wait.ShouldLook()) {
//     const bool has_found = ...;                     // for up to kTimeMax
//     wait.OnLooked(has_found);
//   }
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_BUSY_WAIT_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_BUSY_WAIT_H_

#include <algorithm>

#include "millrace/engine/scheduler/clock.h"

namespace millrace {

class BusyWait {
 public:
  // About twice what waking a processor and a short request take together.
  static constexpr Nanoseconds kTimeMax = 50 * kMicrosecond;
  // How many waits there are to one trial while it does not pay.
  static constexpr int kTrialMin = 32;
  static constexpr int kTrialMax = 4096;

  // Asked before each wait.
  bool ShouldLook() {
    if (credit_ > 0) return true;
    if (++waits_ < trial_) return false;
    waits_ = 0;
    return true;
  }
  void OnLooked(bool has_found) {
    if (has_found) {
      credit_ = std::min(credit_ + 1, kCreditMax);
      trial_ = kTrialMin;
      return;
    }
    if (credit_ == 0) trial_ = std::min(2 * trial_, kTrialMax);
    credit_ = std::max(credit_ - kMissCosts, 0);
  }

 private:
  // It goes on while more than two of three looks have found something.
  static constexpr int kMissCosts = 2;
  static constexpr int kCreditMax = 8;

  int credit_ = 0;
  int waits_ = 0;  // since the last trial
  int trial_ = kTrialMin;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_BUSY_WAIT_H_
