// Schedule: one run of a scenario, written down as its deviations from production's order.
//
// Each deviation names its choice by number and its option by label, so a schedule survives edits
// that do not change what it passes; where it no longer fits, replaying it says so ("stale") and
// at which choice. A hold is a deviation that lasts: for a while, a party goes behind all others
// that can run. As text a schedule is one line without blanks or shell characters:
//
//   h5-40:mirror0/copy,s12:stream0@drain.begin,o14:img-3@torn,s31:copy@io.read#2
//
// that is: first the holds (h: first and last choice, the party's name; #N if only one of that name
// is meant, N of them being before it at the first choice), then kind (s step, o
// outcome, w wake, c crash, f fault, d data, b buggify, l latency), number of the choice, the
// option's name@detail with unusual bytes as %XX, and #N if N others with that label come before
// it. The empty schedule, production's own order, is "-". Plain data; any thread.
#ifndef MILLRACE_ENGINE_EXPLORE_SCHEDULE_H_
#define MILLRACE_ENGINE_EXPLORE_SCHEDULE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "millrace/engine/scheduler/decider.h"

namespace millrace {

// At step choices `first` to `last`, whoever has this name is taken only if nobody else can run.
struct Hold {
  uint64_t first = 0;
  uint64_t last = 0;
  std::string party;
  // Of several with that name only the one that at choice `first` has so many of them before it.
  std::optional<uint32_t> which = std::nullopt;
};

struct Schedule {
  std::vector<Decision> deviations;  // by ordinal
  std::vector<Hold> holds;           // where there is no deviation, these count

  size_t size() const { return deviations.size() + holds.size(); }

  std::string ToText() const;
  // InvalidArgument, with the place, if it is not the text of a schedule.
  static absl::StatusOr<Schedule> FromText(std::string_view text);
};

bool operator==(const Schedule& a, const Schedule& b);

// Who is held back at a choice, in one run after the schedule, which must outlive it.
class HoldFollower {
 public:
  explicit HoldFollower(const Schedule& schedule)
      : holds_(&schedule.holds), actors_(holds_->size()), has_held_(holds_->size()) {}

  // To be called at every step choice, in order. The first option that is not held back, which is
  // what happens where there is no deviation; 0 if all are.
  size_t FirstNotHeld(uint64_t ordinal, absl::Span<const Option> options);
  // FailedPrecondition once a hold is over that never put anybody behind another: it does not fit
  // the scenario any more.
  const absl::Status& status() const { return status_; }
  // The same at the end of a run, also of holds that would have gone on.
  absl::Status Finish() const;

 private:
  absl::Status Useless(const Hold& hold) const;

  const std::vector<Hold>* holds_;
  std::vector<uint64_t> actors_;  // of the holds that mean one party, once it is known; 0: not yet
  std::vector<bool> has_held_;    // each of them anybody
  absl::Status status_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_SCHEDULE_H_
