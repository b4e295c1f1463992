// Schedule: one run of a scenario, written down as its deviations from production's order.
//
// Each deviation names its choice by number and its option by label, so a schedule survives edits
// that do not change what it passes; where it no longer fits, replaying it says so ("stale") and
// at which choice. As text it is one line without blanks or shell characters:
//
//   s12:stream0@drain.begin,o14:img-3@torn,s31:copy@io.read#2
//
// that is: kind (s step, o outcome, w wake, c crash, f fault, d data, b buggify), number of the
// choice, the option's name@detail with unusual bytes as %XX, and #N if N others with that label
// come before it. The empty schedule, production's own order, is "-". Plain data; any thread.
#ifndef MILLRACE_ENGINE_EXPLORE_SCHEDULE_H_
#define MILLRACE_ENGINE_EXPLORE_SCHEDULE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/engine/scheduler/decider.h"

namespace millrace {

struct Schedule {
  std::vector<Decision> deviations;  // by ordinal

  std::string ToText() const;
  // InvalidArgument, with the place, if it is not the text of a schedule.
  static absl::StatusOr<Schedule> FromText(std::string_view text);
};

bool operator==(const Schedule& a, const Schedule& b);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_SCHEDULE_H_
