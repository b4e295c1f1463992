#include "millrace/engine/explore/pos.h"

#include <algorithm>

#include "millrace/engine/explore/party.h"

namespace millrace {

bool Pos::BeginRun() {
  const uint64_t run_seed = SeedOfRun(name(), seed_, runs_++);
  random_ = RandomStream(run_seed, "schedule");
  others_.BeginRun(run_seed);
  pending_.clear();
  is_in_step_ = false;
  tail_.BeginRun();
  return true;
}

void Pos::EndRun(const RunSummary&) {
  FinishStep();
  tail_.EndRun();
}

bool Pos::MayConflict(const Touched& a, const Touched& b) {
  if (!a.is_known() || !b.is_known()) return true;
  return (a.written & (b.written | b.read)) != 0 || (a.read & b.written) != 0;
}

size_t Pos::IndexOfPlace(const Option& option) { return PlaceOf(option) % kPlaces; }

Pos::Pending& Pos::PendingOf(const Option& option) {
  const uint64_t party = PartyOf(option);
  for (Pending& each : pending_) {
    if (each.party == party) return each;
  }
  pending_.push_back({party, IndexOfPlace(option), random_.Next()});
  return pending_.back();
}

size_t Pos::Pick(ChoiceKind kind, absl::Span<const Option> options) {
  if (kind != ChoiceKind::kStep) return others_.Pick(kind, options);
  FinishStep();
  if (is_fair_ && tail_.TakesNext()) return random_.Below(options.size());
  size_t taken = 0;
  uint64_t highest = 0;
  for (size_t i = 0; i < options.size(); ++i) {
    const uint64_t priority = PendingOf(options[i]).priority;
    if (priority < highest) continue;
    highest = priority;
    taken = i;
  }
  return taken;
}

void Pos::OnStep(const Option& step) {
  FinishStep();
  const uint64_t party = PartyOf(step);
  std::erase_if(pending_, [&](const Pending& each) { return each.party == party; });
  place_ = IndexOfPlace(step);
  touched_ = {};
  is_in_step_ = true;
}

void Pos::OnTouch(uint64_t object, StepAccess access) {
  if (!is_in_step_) return;
  const uint64_t bit = uint64_t{1} << (object & 63);
  (access == StepAccess::kWrite ? touched_.written : touched_.read) |= bit;
}

// What conflicted with the step just taken is drawn anew.
void Pos::FinishStep() {
  if (!is_in_step_) return;
  is_in_step_ = false;
  Touched& known = places_[place_];
  known.read |= touched_.read;
  known.written |= touched_.written;
  for (Pending& each : pending_) {
    if (MayConflict(touched_, places_[each.place])) each.priority = random_.Next();
  }
}

}  // namespace millrace
