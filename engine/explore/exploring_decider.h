// ExploringDecider: the decider of an exploration. It asks a strategy, keeps the indices of what
// was chosen (so that a run can be repeated even if it crashed), and passes on to a recorder what
// happens, if there is one. Internal; not installed.
#ifndef MILLRACE_ENGINE_EXPLORE_EXPLORING_DECIDER_H_
#define MILLRACE_ENGINE_EXPLORE_EXPLORING_DECIDER_H_

#include <cstdint>
#include <string_view>

#include "absl/types/span.h"
#include "millrace/engine/explore/recorder.h"
#include "millrace/engine/explore/scenario.h"
#include "millrace/engine/explore/strategy.h"
#include "millrace/engine/scheduler/decider.h"

namespace millrace {

// Types of touched objects by which FootprintScope and TouchShared() report.
inline constexpr std::string_view kTouchedByEveryStep = "shared, by every step";
inline constexpr std::string_view kTouchedByOneStep = "shared";

// What was chosen in a run, and how often each of ExplorationSites() was passed in all runs; where
// they lie is the explorer's business.
struct ChoiceLog {
  uint32_t* count = nullptr;
  absl::Span<uint16_t> indices;
  absl::Span<uint64_t> site_hits;  // of sites beyond its end nothing is kept
};

class ExploringDecider final : public Decider, public StepObserver {
 public:
  // Called when a run has made too many choices; does not return.
  using OnEndless = void (*)(void* context);

  // A strategy that repeats is asked about every choice; but buggify sites make choices, and so
  // take numbers, only where `explored` has them: one more site shifts no recorded schedule.
  ExploringDecider(ChoiceKinds explored, Strategy* strategy, ChoiceLog log)
      : explored_(strategy->repeats() ? ChoiceKinds::All() : explored),
        repeats_(strategy->repeats()),
        has_odd_branches_(explored.Has(ChoiceKind::kBuggify)),
        strategy_(strategy),
        log_(log) {}

  // After the strategy's.
  void BeginRun() {
    *log_.count = 0;
    wants_steps_ = strategy_->wants_steps();
  }
  // While it points at false, faults are not explored, nor taken where a run is repeated.
  void SetFaultSwitch(const bool* has_faults) { has_faults_ = has_faults; }
  void SetRecorder(Recorder* recorder) { recorder_ = recorder; }
  void SetLimit(uint64_t choices_max, OnEndless on_endless, void* context) {
    limit_ = choices_max;
    on_endless_ = on_endless;
    context_ = context;
  }
  uint64_t choices() const { return *log_.count; }
  // How often another option than production's was taken, in all runs.
  const uint64_t* deviations() const { return &deviations_; }

  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override;
  bool TakesOddBranch(const ExplorationSite& site) override {
    return has_odd_branches_ && Decider::TakesOddBranch(site);
  }
  void OnSite(const ExplorationSite&, size_t index) override {
    if (index < log_.site_hits.size()) ++log_.site_hits[index];
  }
  StepObserver* observer() override {
    return wants_steps_ || recorder_ != nullptr ? this : nullptr;
  }
  void OnStep(const Option& step, int64_t now_ns) override;
  void OnTouch(std::string_view type, std::string_view name, StepAccess access) override;
  void OnFootprint(bool is_complete) override;
  void OnNote(std::string_view kind, std::string_view object, std::string_view text) override;
  bool keeps_notes() const override { return recorder_ != nullptr; }

 private:
  bool IsExplored(ChoiceKind kind) const {
    return explored_.Has(kind) &&
           (has_faults_ == nullptr || *has_faults_ || ChoiceKinds::Schedule().Has(kind));
  }

  const ChoiceKinds explored_;
  const bool repeats_;
  const bool has_odd_branches_;
  Strategy* const strategy_;
  const ChoiceLog log_;
  bool wants_steps_ = false;  // in this run
  const bool* has_faults_ = nullptr;
  Recorder* recorder_ = nullptr;
  uint64_t limit_ = UINT64_MAX;
  OnEndless on_endless_ = nullptr;
  void* context_ = nullptr;
  uint64_t deviations_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_EXPLORING_DECIDER_H_
