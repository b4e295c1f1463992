#include "millrace/engine/explore/exploring_decider.h"

#include "millrace/engine/explore/party.h"

namespace millrace {

size_t ExploringDecider::Pick(ChoiceKind kind, absl::Span<const Option> options) {
  const uint32_t ordinal = *log_.count;
  if (__builtin_expect(ordinal >= limit_, 0)) on_endless_(context_);
  size_t taken = 0;
  if (IsExplored(kind)) {
    taken = strategy_->Pick(kind, options);
  } else if (repeats_) {
    strategy_->OnFixedChoice(kind, options);
  }
  deviations_ += taken != 0 ? 1 : 0;
  log_.indices[ordinal] = static_cast<uint16_t>(taken);
  *log_.count = ordinal + 1;
  if (__builtin_expect(recorder_ != nullptr, 0)) {
    recorder_->OnChoice(ordinal, kind, options, taken);
  }
  return taken;
}

void ExploringDecider::OnStep(const Option& step, int64_t now_ns) {
  if (wants_steps_) strategy_->OnStep(step);
  if (recorder_ != nullptr) recorder_->OnStep(step, now_ns);
}

void ExploringDecider::OnTouch(std::string_view type, std::string_view name, StepAccess access) {
  if (!wants_steps_) return;
  if (type == kTouchedByEveryStep) {
    strategy_->OnStandingTouch(HashText(name, HashText(kTouchedByOneStep)));
  } else {
    strategy_->OnTouch(HashText(name, HashText(type)), access);
  }
}

void ExploringDecider::OnFootprint(bool is_complete) {
  if (wants_steps_) strategy_->OnFootprint(is_complete);
}

void ExploringDecider::OnNote(std::string_view kind, std::string_view object,
                              std::string_view text) {
  if (recorder_ != nullptr) recorder_->OnNote(kind, object, text);
}

}  // namespace millrace
