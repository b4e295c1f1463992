#include "millrace/engine/explore/exhaustive.h"

#include <algorithm>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/party.h"

namespace millrace {
namespace {

constexpr size_t kOptionsMax = 64;

uint64_t Bit(size_t index) { return uint64_t{1} << index; }

size_t IndexOf(const std::vector<uint64_t>& parties, uint64_t party) {
  return static_cast<size_t>(std::find(parties.begin(), parties.end(), party) - parties.begin());
}

}  // namespace

// ---- The path: which choices are taken, and what is left to try ---------------------------------

// Takes what is to be tried next at a node; false if nothing is.
bool Exhaustive::GoOnFrom(Node& node) {
  node.tried |= Bit(node.taken);
  if (node.is_step) {
    node.tried_steps.push_back({node.parties[node.taken], std::move(node.footprint)});
    node.footprint.Clear();
    node.has_footprint = false;
  }
  for (size_t i = 0; i < node.options; ++i) {
    if ((node.to_try & ~node.tried & Bit(i)) == 0) continue;
    const bool is_asleep =
        node.is_step && std::any_of(node.sleep.begin(), node.sleep.end(), [&](const Asleep& each) {
          return each.party == node.parties[i];
        });
    if (is_asleep) continue;
    node.taken = i;
    return true;
  }
  return false;
}

bool Exhaustive::BeginRun() {
  if (schedules_ > 0) {
    while (length_ > 0 && !GoOnFrom(path_[length_ - 1])) --length_;
    if (length_ == 0) {
      is_complete_ = true;
      return false;
    }
  }
  depth_ = 0;
  event_count_ = 0;
  is_event_open_ = false;
  node_of_next_ = kNoNode;
  events_to_race_ = SIZE_MAX;
  is_redundant_ = false;
  sleep_.clear();
  enabled_.clear();
  promises_.clear();
  deeds_.clear();
  return true;
}

Exhaustive::Node& Exhaustive::NextNode(size_t options, bool is_step) {
  MILLRACE_CHECK(options <= kOptionsMax,
                 "exhaustive exploration: a choice of more than 64 options; make the scenario "
                 "smaller");
  const size_t index = depth_++;
  if (index < length_) {
    Node& node = path_[index];
    MILLRACE_CHECK(node.options == options && node.is_step == is_step,
                   "exploration: the scenario offered other options when it was run again; "
                   "something in it is not decided by the decider");
    return node;
  }
  if (index == path_.size()) path_.emplace_back();
  length_ = depth_;
  Node& node = path_[index];
  node.is_step = is_step;
  node.options = options;
  node.taken = 0;
  node.to_try = is_step ? 0 : (options == kOptionsMax ? ~uint64_t{0} : Bit(options) - 1);
  node.tried = 0;
  node.parties.clear();
  node.sleep.clear();
  node.tried_steps.clear();
  node.footprint.Clear();
  node.has_footprint = false;
  return node;
}

size_t Exhaustive::Pick(ChoiceKind kind, absl::Span<const Option> options) {
  if (kind == ChoiceKind::kStep) return PickStep(options);
  if (is_redundant_) return 0;
  return NextNode(options.size(), false).taken;
}

size_t Exhaustive::PickStep(absl::Span<const Option> options) {
  FinishEvent();
  NoteEnabled(options);
  if (is_redundant_) return 0;
  const bool is_new = depth_ == length_;
  if (is_new) {
    const auto awake = std::find_if(options.begin(), options.end(),
                                    [&](const Option& each) { return !IsAsleep(PartyOf(each)); });
    if (awake == options.end()) {
      is_redundant_ = true;
      events_to_race_ = event_count_;
      return 0;
    }
    Node& node = NextNode(options.size(), true);
    for (const Option& each : options) node.parties.push_back(PartyOf(each));
    node.sleep = sleep_;
    node.taken = static_cast<size_t>(awake - options.begin());
    node.to_try = Bit(node.taken);
  } else {
    NextNode(options.size(), true);
  }
  node_of_next_ = depth_ - 1;
  const Node& node = path_[node_of_next_];
  // What was tried here need not be tried again below the other choices, until something that it
  // depends on has happened.
  sleep_ = node.sleep;
  sleep_.insert(sleep_.end(), node.tried_steps.begin(), node.tried_steps.end());
  return node.taken;
}

bool Exhaustive::IsAsleep(uint64_t party) const {
  return std::any_of(sleep_.begin(), sleep_.end(),
                     [&](const Asleep& each) { return each.party == party; });
}

// ---- The events of a run ------------------------------------------------------------------------

void Exhaustive::NoteEnabled(absl::Span<const Option> options) {
  const size_t latest = event_count_ == 0 ? kNoEvent : event_count_ - 1;
  auto is_offered = [&](uint64_t party) {
    return std::any_of(options.begin(), options.end(),
                       [&](const Option& each) { return PartyOf(each) == party; });
  };
  const size_t node_index = latest == kNoEvent ? kNoNode : events_[latest].node;
  for (const auto& [party, since] : enabled_) {
    if (is_offered(party) || node_index == kNoNode) continue;
    // The latest event took away a step that could have come before it.
    Node& node = path_[node_index];
    const size_t option = IndexOf(node.parties, party);
    if (option < node.options) node.to_try |= Bit(option);
  }
  std::erase_if(enabled_, [&](const auto& each) { return !is_offered(each.first); });
  for (const Option& each : options) {
    const uint64_t party = PartyOf(each);
    const bool is_known = std::any_of(enabled_.begin(), enabled_.end(),
                                      [&](const auto& known) { return known.first == party; });
    if (!is_known) enabled_.emplace_back(party, latest);
  }
}

void Exhaustive::OnStep(const Option& step) {
  FinishEvent();
  if (node_of_next_ == kNoNode) NoteEnabled(absl::MakeConstSpan(&step, 1));
  const uint64_t party = PartyOf(step);
  if (!is_redundant_ && IsAsleep(party) && node_of_next_ == kNoNode) {
    is_redundant_ = true;
    events_to_race_ = event_count_;
  }
  if (event_count_ == events_.size()) events_.emplace_back();
  Event& event = events_[event_count_++];
  event.party = party;
  event.footprint.Clear();
  event.node = node_of_next_;
  event.enabled_by = kNoEvent;
  event.before.clear();
  const auto enabled = std::find_if(enabled_.begin(), enabled_.end(),
                                    [&](const auto& each) { return each.first == party; });
  if (enabled != enabled_.end()) {
    event.enabled_by = enabled->second;
    enabled_.erase(enabled);
  }
  if (const auto promise = promises_.find(party); promise != promises_.end()) {
    event.footprint.is_complete = promise->second.is_complete;
    for (uint64_t object : promise->second.always) event.footprint.Add(object, StepAccess::kWrite);
  }
  node_of_next_ = kNoNode;
  is_event_open_ = true;
  NoteDeed(step);
}

// Parties are numbered as they begin, which differs from run to run: what they did is kept by name.
void Exhaustive::NoteDeed(const Option& step) {
  const uint64_t party = PartyOf(step);
  auto deeds = std::find_if(deeds_.begin(), deeds_.end(),
                            [&](const Deeds& each) { return each.party == party; });
  if (deeds == deeds_.end()) deeds = deeds_.insert(deeds_.end(), {party, HashText(step.name)});
  deeds->hash = Mix(deeds->hash, PlaceOf(step));
}

uint64_t Exhaustive::OutcomeOf(const RunSummary& summary) const {
  uint64_t all = 0;  // in any order
  for (const Deeds& each : deeds_) all += each.hash;
  return Mix(all, summary.outcome);
}

void Exhaustive::OnTouch(uint64_t object, StepAccess access) {
  if (is_event_open_) events_[event_count_ - 1].footprint.Add(object, access);
}

void Exhaustive::OnStandingTouch(uint64_t object) {
  if (!is_event_open_) return;
  Event& event = events_[event_count_ - 1];
  event.footprint.Add(object, StepAccess::kWrite);
  promises_[event.party].always.push_back(object);
}

void Exhaustive::OnFootprint(bool is_complete) {
  if (!is_event_open_) return;
  Event& event = events_[event_count_ - 1];
  Promise& promise = promises_[event.party];
  promise.is_complete = is_complete;
  // A scope covers the step in which it opens from its start, and that in which it closes to its
  // end.
  if (is_complete) event.footprint.is_complete = true;
  if (!is_complete) promise.always.clear();
}

void Exhaustive::FinishEvent() {
  if (!is_event_open_) return;
  is_event_open_ = false;
  Event& event = events_[event_count_ - 1];
  StepFootprint& footprint = event.footprint;
  if (dependence_ == Dependence::kEverything) footprint.is_complete = false;
  if (dependence_ == Dependence::kTouches && !footprint.is_empty()) footprint.is_complete = true;
  if (event.node != kNoNode) {
    Node& node = path_[event.node];
    if (node.has_footprint) {
      node.footprint.Merge(event.footprint);
    } else {
      node.footprint = event.footprint;
      node.has_footprint = true;
    }
  }
  std::erase_if(sleep_, [&](const Asleep& each) {
    return each.party == event.party || MayConflict(each.footprint, event.footprint);
  });
}

// ---- Races --------------------------------------------------------------------------------------

bool Exhaustive::IsBefore(size_t earlier, size_t later) const {
  const std::vector<uint64_t>& before = events_[later].before;
  return earlier / 64 < before.size() && (before[earlier / 64] & Bit(earlier % 64)) != 0;
}

void Exhaustive::AddBefore(Event& event, size_t index, const Event& earlier) {
  event.before.resize(std::max({event.before.size(), earlier.before.size(), index / 64 + 1}));
  for (size_t i = 0; i < earlier.before.size(); ++i) event.before[i] |= earlier.before[i];
  event.before[index / 64] |= Bit(index % 64);
}

void Exhaustive::FindRaces(size_t later) {
  Event& event = events_[later];
  if (event.enabled_by != kNoEvent) AddBefore(event, event.enabled_by, events_[event.enabled_by]);
  for (size_t i = later; i-- > 0;) {
    if (events_[i].party != event.party) continue;
    AddBefore(event, i, events_[i]);
    break;
  }
  for (size_t i = later; i-- > 0;) {
    if (IsBefore(i, later) || !MayConflict(events_[i].footprint, event.footprint)) continue;
    Reverse(i, later);  // nothing between them keeps them in this order
    AddBefore(event, i, events_[i]);
  }
}

// Somewhere else, `later` shall come before `earlier`: whoever can start the events between them
// that do not need `earlier` has to be tried where `earlier` was chosen.
void Exhaustive::Reverse(size_t earlier, size_t later) {
  if (events_[earlier].node == kNoNode) return;
  Node& node = path_[events_[earlier].node];
  uint64_t starters = 0;
  for (size_t i = earlier + 1; i <= later; ++i) {
    if (IsBefore(earlier, i)) continue;
    bool is_first = true;
    for (size_t j = earlier + 1; j < i && is_first; ++j) {
      is_first = IsBefore(earlier, j) || !IsBefore(j, i);
    }
    const size_t option = is_first ? IndexOf(node.parties, events_[i].party) : node.options;
    if (option < node.options) starters |= Bit(option);
  }
  if (starters == 0) {
    node.to_try = node.options == kOptionsMax ? ~uint64_t{0} : Bit(node.options) - 1;
    return;
  }
  if ((node.to_try & starters) != 0) return;
  const size_t wanted = IndexOf(node.parties, events_[later].party);
  const bool can_start = wanted < node.options && (starters & Bit(wanted)) != 0;
  node.to_try |= can_start ? Bit(wanted) : starters & (~starters + 1);
}

void Exhaustive::EndRun(const RunSummary& summary) {
  FinishEvent();
  if (!is_redundant_) outcomes_.insert(OutcomeOf(summary));
  const size_t events = std::min(event_count_, events_to_race_);
  for (size_t i = 0; i < events; ++i) FindRaces(i);
  MILLRACE_CHECK(depth_ == length_,
                 "exploration: the scenario made fewer choices when it was run again; something in "
                 "it is not decided by the decider");
  ++schedules_;
  if (is_redundant_) ++redundant_;
  choices_max_ = std::max<uint64_t>(choices_max_, depth_);
}

std::string Exhaustive::Progress() const {
  return StrCat(is_complete_ ? "every behaviour seen: " : "incomplete after ", schedules_,
                " schedules (", redundant_, " redundant) of up to ", choices_max_, " choices");
}

}  // namespace millrace
