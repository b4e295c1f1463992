#include "millrace/engine/explore/pct.h"

#include <algorithm>

#include "millrace/engine/explore/party.h"

namespace millrace {
namespace {

constexpr uint64_t kInitial = uint64_t{1} << 62;  // initial priorities are above all dropped ones
constexpr uint64_t kChanged = uint64_t{1} << 61;  // and those dropped at changes above time's

}  // namespace

bool Pct::BeginRun() {
  run_seed_ = SeedOfRun(name(), options_.seed, runs_);
  random_ = RandomStream(run_seed_, "schedule");
  others_.BeginRun(run_seed_);
  const uint64_t depths = options_.depth_max - options_.depth_min + 1;
  const uint64_t depth = options_.depth_min + runs_++ % depths;
  changes_.clear();
  // Choices are drawn independently of each other, so places are in no order of time.
  for (uint64_t place = 1; place < depth; ++place) {
    changes_.emplace_back(1 + random_.Below(choices_expected_), place);
  }
  std::sort(changes_.begin(), changes_.end());
  next_change_ = 0;
  choice_ = 0;
  tail_.BeginRun();
  times_passed_ = 0;
  dropped_.clear();
  return true;
}

void Pct::EndRun(const RunSummary&) {
  tail_.EndRun();
  choices_max_ = std::max(choices_max_, choice_);
  choices_expected_ = std::max<uint64_t>(options_.is_fair ? tail_.fair_length() : choices_max_, 1);
}

uint64_t Pct::PriorityOf(uint64_t party) const {
  for (const auto& [dropped, priority] : dropped_) {
    if (dropped == party) return priority;
  }
  return Mix(run_seed_, party) | kInitial;
}

void Pct::Drop(uint64_t party, uint64_t priority) {
  std::erase_if(dropped_, [&](const auto& each) { return each.first == party; });
  dropped_.emplace_back(party, priority);
}

size_t Pct::Highest(absl::Span<const Option> options) const {
  size_t highest = 0;
  uint64_t priority = PriorityOf(PartyOf(options[0]));
  for (size_t i = 1; i < options.size(); ++i) {
    const uint64_t other = PriorityOf(PartyOf(options[i]));
    if (other > priority) {
      highest = i;
      priority = other;
    }
  }
  return highest;
}

size_t Pct::Pick(ChoiceKind kind, absl::Span<const Option> options) {
  if (kind != ChoiceKind::kStep) return others_.Pick(kind, options);
  ++choice_;
  if (options_.is_fair && tail_.TakesNext()) return random_.Below(options.size());
  size_t taken = Highest(options);
  for (; next_change_ < changes_.size() && changes_[next_change_].first <= choice_;
       ++next_change_) {
    Drop(PartyOf(options[taken]), kChanged + changes_[next_change_].second);
    taken = Highest(options);
  }
  const Option& option = options[taken];
  if (option.actor == 0) Drop(PartyOf(option), kChanged - ++times_passed_);
  return taken;
}

}  // namespace millrace
