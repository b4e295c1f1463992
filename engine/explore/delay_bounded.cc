#include "millrace/engine/explore/delay_bounded.h"

#include <algorithm>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/party.h"

namespace millrace {
bool DelayBounded::BeginRun() {
  if (schedules_ > 0) {
    while (!path_.empty() && path_.back().taken == path_.back().taken_max) path_.pop_back();
    if (path_.empty()) {
      is_complete_ = true;
      return false;
    }
    ++path_.back().taken;
  }
  depth_ = 0;
  spent_ = 0;
  step_choices_ = 0;
  skipped_.clear();
  return true;
}

void DelayBounded::EndRun(const RunSummary&) {
  MILLRACE_CHECK(depth_ == path_.size(),
                 "exploration: the scenario made fewer choices when it was run again; something in "
                 "it is not decided by the decider");
  ++schedules_;
  choices_max_ = std::max<uint64_t>(choices_max_, depth_);
}

uint32_t DelayBounded::Next(uint32_t taken_max) {
  if (depth_ == path_.size()) {
    path_.push_back({0, taken_max});
  } else {
    MILLRACE_CHECK(path_[depth_].taken_max == taken_max,
                   "exploration: the scenario offered other options when it was run again; "
                   "something in it is not decided by the decider");
  }
  return path_[depth_++].taken;
}

bool DelayBounded::IsBehind(const Option& option) const {
  const uint64_t actor = PartyOf(option);
  return std::any_of(skipped_.begin(), skipped_.end(), [&](const Skipped& each) {
    return each.actor == actor && each.until > step_choices_;
  });
}

void DelayBounded::Skip(const Option& option, uint64_t until) {
  const uint64_t actor = PartyOf(option);
  for (Skipped& each : skipped_) {
    if (each.actor != actor) continue;
    each.until = until;
    return;
  }
  skipped_.push_back({actor, until});
}

size_t DelayBounded::PickStep(absl::Span<const Option> options) {
  ++step_choices_;
  const auto others = static_cast<uint32_t>(options.size() - 1);
  const uint32_t delays = Next(std::min(others, bound_ - spent_));
  spent_ += delays;
  if (delays == 0 && skipped_.empty()) return 0;
  order_.clear();
  for (size_t i = 0; i < options.size(); ++i) {
    if (!IsBehind(options[i])) order_.push_back(i);
  }
  for (size_t i = 0; i < options.size(); ++i) {
    if (IsBehind(options[i])) order_.push_back(i);
  }
  for (uint32_t i = 0; i < delays; ++i) Skip(options[order_[i]], step_choices_ + others);
  const size_t taken = order_[delays];
  const uint64_t actor = PartyOf(options[taken]);
  std::erase_if(skipped_, [&](const Skipped& each) {
    return each.actor == actor || each.until <= step_choices_;
  });
  return taken;
}

size_t DelayBounded::Pick(ChoiceKind kind, absl::Span<const Option> options) {
  if (kind == ChoiceKind::kStep) return PickStep(options);
  const auto others = static_cast<uint32_t>(options.size() - 1);
  if (kind == ChoiceKind::kWake) {
    const uint32_t delays = Next(std::min(others, bound_ - spent_));
    spent_ += delays;
    return delays;
  }
  const uint32_t taken = Next(spent_ < bound_ ? others : 0);
  spent_ += taken > 0 ? 1 : 0;
  return taken;
}

std::string DelayBounded::Progress() const {
  return StrCat("delay bound ", bound_, is_complete_ ? " complete: " : " incomplete after ",
                schedules_, " schedules of up to ", choices_max_, " choices");
}

}  // namespace millrace
