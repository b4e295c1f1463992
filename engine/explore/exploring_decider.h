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

// What was chosen in a run; where it lies is the explorer's business.
struct ChoiceLog {
  uint32_t* count = nullptr;
  absl::Span<uint16_t> indices;
};

class ExploringDecider final : public Decider, public StepObserver {
 public:
  // Called when a run has made too many choices; does not return.
  using OnEndless = void (*)(void* context);

  ExploringDecider(ChoiceKinds explored, Strategy* strategy, ChoiceLog log)
      : explored_(explored),
        strategy_(strategy),
        log_(log),
        wants_steps_(strategy->wants_steps()) {}

  void BeginRun() { *log_.count = 0; }
  // While it points at false, faults are not explored (a run that is repeated keeps its own).
  void SetFaultSwitch(const bool* has_faults) { has_faults_ = has_faults; }
  void SetRecorder(Recorder* recorder) { recorder_ = recorder; }
  void SetLimit(uint64_t choices_max, OnEndless on_endless, void* context) {
    limit_ = choices_max;
    on_endless_ = on_endless;
    context_ = context;
  }
  uint64_t choices() const { return *log_.count; }

  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override;
  StepObserver* observer() override {
    return wants_steps_ || recorder_ != nullptr ? this : nullptr;
  }
  void OnStep(const Option& step, int64_t now_ns) override;
  void OnTouch(std::string_view type, std::string_view name, StepAccess access) override;
  void OnFootprint(bool is_complete) override;
  void OnNote(std::string_view kind, std::string_view object, std::string_view text) override;

 private:
  bool IsExplored(ChoiceKind kind) const {
    return explored_.Has(kind) &&
           (has_faults_ == nullptr || *has_faults_ || ChoiceKinds::Schedule().Has(kind));
  }

  const ChoiceKinds explored_;
  Strategy* const strategy_;
  const ChoiceLog log_;
  const bool wants_steps_;
  const bool* has_faults_ = nullptr;
  Recorder* recorder_ = nullptr;
  uint64_t limit_ = UINT64_MAX;
  OnEndless on_endless_ = nullptr;
  void* context_ = nullptr;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_EXPLORING_DECIDER_H_
