// DelayBounded: every schedule with at most d delays, once each: a proof up to that bound.
//
// Production's scheduler is deterministic. A delay skips whoever it would run next: the skipped one
// goes behind everybody else that could run then, for one round. A choice among waiters costs one
// delay for each that is passed over; any fault, crash, odd branch or value other than option 0
// costs one. So with k choice points there are about C(k, d) schedules, however many parties there
// are (Emmi, Qadeer, Rakamaric: Delay-bounded scheduling, POPL 2011). Most known races need no more
// than two delays.
#ifndef MILLRACE_ENGINE_EXPLORE_DELAY_BOUNDED_H_
#define MILLRACE_ENGINE_EXPLORE_DELAY_BOUNDED_H_

#include <vector>

#include "millrace/engine/explore/strategy.h"

namespace millrace {

class DelayBounded final : public Strategy {
 public:
  explicit DelayBounded(uint32_t bound) : bound_(bound) {}

  std::string_view name() const override { return "delay-bounded"; }
  bool BeginRun() override;
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override;
  void EndRun(const RunSummary& summary) override;
  std::string Progress() const override;

  uint32_t bound() const { return bound_; }
  uint64_t schedules() const { return schedules_; }
  bool is_complete() const { return is_complete_; }

 private:
  struct Point {
    uint32_t taken = 0;      // delays spent here, or the option where each costs one
    uint32_t taken_max = 0;  // the last to try
  };
  // A party that was skipped, and until which step choice it stays behind the others.
  struct Skipped {
    uint64_t actor = 0;
    uint64_t until = 0;
  };

  // What the current schedule takes at the next choice, of 0 to taken_max.
  uint32_t Next(uint32_t taken_max);
  size_t PickStep(absl::Span<const Option> options);
  bool IsBehind(const Option& option) const;
  void Skip(const Option& option, uint64_t until);

  const uint32_t bound_;
  std::vector<Point> path_;  // the choices of the current run and what each has left to try
  size_t depth_ = 0;         // choices made in this run
  uint32_t spent_ = 0;
  uint64_t step_choices_ = 0;
  std::vector<Skipped> skipped_;
  std::vector<size_t> order_;  // of the options of one choice
  uint64_t schedules_ = 0;
  uint64_t choices_max_ = 0;
  bool is_complete_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_DELAY_BOUNDED_H_
