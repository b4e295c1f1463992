// InvariantChecker: what must hold of a graph or of its jobs whenever no step is being taken.
//
// Graphs and job managers are checkers, known to the scheduler of their engine while they live.
// Production never asks them; simulations ask Scheduler::CheckInvariants() as often as they can
// afford, an exploration after every step of some of its schedules (engine/explore/scenario.h).
#ifndef MILLRACE_ENGINE_SCHEDULER_INVARIANT_CHECKER_H_
#define MILLRACE_ENGINE_SCHEDULER_INVARIANT_CHECKER_H_

#include "absl/status/status.h"

namespace millrace {

class InvariantChecker {
 public:
  // OK, or Internal: the invariant's name (graph/INVARIANTS.md), a colon, on what it does not hold,
  // and how. Does not suspend and changes nothing. Home thread only.
  virtual absl::Status CheckInvariants() = 0;

 protected:
  ~InvariantChecker() = default;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SCHEDULER_INVARIANT_CHECKER_H_
