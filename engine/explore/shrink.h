// Shrink: makes a failing schedule short. Of the hundred deviations of a random run three or four
// matter; a schedule that holds only those can be read.
//
// It looks for the same failure (by signature) first in production's order, with nothing decided
// otherwise but values, outcomes and crashes; then among the schedules with one delay, short or
// long, and with two long ones. Then it holds back, for as long as they were passed over, up to
// three parties that often were, or one or two of several with the same name, or one for a number
// of choices of its own: what starves somebody is one deviation that lasts and not a hundred. (Of a
// run without end no later than half of the choices it may make: being held back is no reason to
// have no end.) Then it cuts what comes after the failure, takes out all deviations of one label,
// and halves, quarters, ... and single deviations until none can be spared (delta debugging), and
// looks for few delays again, behind ever longer beginnings of what is left. What is left of a
// schedule may come some choices later than it did; values, outcomes and crashes also wherever else
// they are asked for. It ends where one deviation is left, or none. Each try is one replay; the
// budget is for all of them.
#ifndef MILLRACE_ENGINE_EXPLORE_SHRINK_H_
#define MILLRACE_ENGINE_EXPLORE_SHRINK_H_

#include <cstdint>

#include "millrace/engine/explore/explorer.h"

namespace millrace {

struct ShrinkOptions {
  uint64_t replays_max = 20'000;
  // Of all replays together; what takes longer than a step (a process, a recording) counts as
  // many. So how short a schedule becomes does not depend on how fast the machine is.
  uint64_t steps_max = 1'000'000;
  Isolation isolation = Isolation::kChildProcess;
  uint32_t fair_factor = 0;  // of the exploration that has found it
};

struct ShrinkReport {
  Finding finding;  // with the shortest schedule found; at_schedule is that of the original
  uint64_t deviations_before = 0;
  uint64_t replays = 0;
  Nanoseconds time = 0;
};

ShrinkReport Shrink(const Scenario& scenario, const Finding& finding,
                    const ShrinkOptions& options = {});

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_SHRINK_H_
