#include "millrace/engine/explore/portfolio.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/guided.h"
#include "millrace/engine/explore/pct.h"
#include "millrace/engine/explore/pos.h"
#include "millrace/engine/explore/random.h"

namespace millrace {

Portfolio::Portfolio(uint64_t seed, FaultRates rates, Members members) {
  Add(std::make_unique<Pct>(Pct::Options{.seed = seed, .rates = rates}), 25);
  Add(std::make_unique<Pos>(seed, rates), 25);
  Add(std::make_unique<RandomWalk>(seed, rates), 15);
  if (members == Members::kAll) Add(std::make_unique<DelayBounded>(2), 15);
  Add(std::make_unique<Guided>(seed, rates), 10);
  Add(std::make_unique<Pct>(Pct::Options{.seed = seed, .is_fair = true, .rates = rates}), 10);
}

void Portfolio::Add(std::unique_ptr<Strategy> strategy, uint32_t share) {
  const bool wants = strategy->wants_steps();
  members_.push_back({std::move(strategy), share, 0, false, wants});
}

// Whoever is furthest behind its share; of equals the first.
Portfolio::Member* Portfolio::Next() {
  Member* next = nullptr;
  for (Member& each : members_) {
    if (each.is_done) continue;
    // runs / share, compared without division.
    if (next == nullptr || each.runs * next->share < next->runs * each.share) next = &each;
  }
  return next;
}

bool Portfolio::BeginRun() {
  while ((current_ = Next()) != nullptr) {
    if (current_->strategy->BeginRun()) {
      ++current_->runs;
      return true;
    }
    current_->is_done = true;
  }
  return false;
}

void Portfolio::EndRun(const RunSummary& summary) { current_->strategy->EndRun(summary); }

bool Portfolio::wants_steps() const {
  if (current_ != nullptr) return current_->wants_steps;
  return std::any_of(members_.begin(), members_.end(),
                     [](const Member& each) { return each.wants_steps; });
}

void Portfolio::OnStep(const Option& step) {
  if (current_->wants_steps) current_->strategy->OnStep(step);
}

void Portfolio::OnTouch(uint64_t object, StepAccess access) {
  if (current_->wants_steps) current_->strategy->OnTouch(object, access);
}

void Portfolio::OnStandingTouch(uint64_t object) {
  if (current_->wants_steps) current_->strategy->OnStandingTouch(object);
}

void Portfolio::OnFootprint(bool is_complete) {
  if (current_->wants_steps) current_->strategy->OnFootprint(is_complete);
}

std::string Portfolio::Progress() const {
  std::string text;
  for (const Member& each : members_) {
    StrAppend(&text, text.empty() ? "" : "; ", each.strategy->name(), " ", each.runs);
    const std::string progress = each.strategy->Progress();
    if (!progress.empty()) StrAppend(&text, " (", progress, ")");
  }
  if (current_ != nullptr) StrAppend(&text, "; latest: ", current_->strategy->name());
  return text;
}

}  // namespace millrace
