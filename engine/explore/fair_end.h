// FairEnd: another strategy, in each run for a while only. Then production's order takes over,
// which is fair, and nothing fails any more. What the other has set up must come to its end from
// there, soon: with ExploreOptions::fair_factor whatever does not is a finding (O11). A random walk
// hardly ever sees that: it breaks every tie in the end, as no production would.
//
// For strategies that do not mind that a run goes on without them; not for DelayBounded, whose
// schedules end so by themselves.
#ifndef MILLRACE_ENGINE_EXPLORE_FAIR_END_H_
#define MILLRACE_ENGINE_EXPLORE_FAIR_END_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "millrace/engine/explore/strategy.h"

namespace millrace {

class FairEnd final : public Strategy {
 public:
  FairEnd(std::unique_ptr<Strategy> adversary, uint64_t seed)
      : adversary_(std::move(adversary)), seed_(seed) {}

  std::string_view name() const override { return "fair end"; }
  // The adversary has up to twice as many choices as a run has made so far: every other run is all
  // its own.
  bool BeginRun() override {
    RandomStream random(SeedOfRun(name(), seed_, runs_++), "length");
    adversarys_choices_ = random.Below(2 * choices_expected_);
    choices_ = 0;
    return adversary_->BeginRun();
  }
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    return choices_++ < adversarys_choices_ ? adversary_->Pick(kind, options) : 0;
  }
  void EndRun(const RunSummary& summary) override {
    choices_expected_ = std::max(choices_expected_, choices_);
    adversary_->EndRun(summary);
  }
  bool wants_steps() const override { return adversary_->wants_steps(); }
  void OnStep(const Option& step) override { adversary_->OnStep(step); }
  void OnTouch(uint64_t object, StepAccess access) override { adversary_->OnTouch(object, access); }
  void OnStandingTouch(uint64_t object) override { adversary_->OnStandingTouch(object); }
  void OnFootprint(bool is_complete) override { adversary_->OnFootprint(is_complete); }
  std::string Progress() const override { return adversary_->Progress(); }

 private:
  const std::unique_ptr<Strategy> adversary_;
  const uint64_t seed_;
  uint64_t runs_ = 0;
  uint64_t choices_expected_ = 50;
  uint64_t adversarys_choices_ = 0;  // in this run
  uint64_t choices_ = 0;             // so far
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_FAIR_END_H_
