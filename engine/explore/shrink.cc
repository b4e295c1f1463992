#include "millrace/engine/explore/shrink.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "millrace/engine/explore/delay_bounded.h"

namespace millrace {
namespace {

// How many choices later than recorded a deviation may find its option: with an earlier one gone
// the run is a little shorter or longer.
constexpr uint64_t kSlack = 6;
// A run that has no end must not have it for the hold alone: whoever was held back gets the second
// half of the choices to make up for it.
constexpr std::string_view kNoEnd = "O11 no end";
// Parties that were passed over fewer times are not worth a hold.
constexpr size_t kPassedOverMin = 3;

bool HasLabel(const Option& option, std::string_view label) {
  return label.size() == option.name.size() + 1 + option.detail.size() &&
         label.substr(0, option.name.size()) == option.name && label[option.name.size()] == '@' &&
         label.substr(option.name.size() + 1) == option.detail;
}

// Takes a schedule's deviations where they fit, and production's order elsewhere.
class LooseReplay {
 public:
  void Begin(const Schedule& schedule) {
    holds_.emplace(schedule);
    left_ = schedule.deviations;
    ordinal_ = 0;
  }
  bool is_over() const { return left_.empty(); }

  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) {
    const uint64_t ordinal = ordinal_++;
    const size_t free = kind == ChoiceKind::kStep ? holds_->FirstNotHeld(ordinal, options) : 0;
    while (!left_.empty() && left_.front().ordinal + kSlack < ordinal) left_.remove_prefix(1);
    if (!left_.empty() && left_.front().ordinal <= ordinal && left_.front().kind == kind) {
      const Decision& wanted = left_.front();
      uint32_t equals = 0;
      size_t found = options.size();
      for (size_t i = 0; i < options.size(); ++i) {
        if (!HasLabel(options[i], wanted.label)) continue;
        found = i;
        if (equals++ == wanted.equals_before) break;
      }
      if (found < options.size()) {
        left_.remove_prefix(1);
        return found;
      }
    }
    return free;
  }
  // Nothing deviates here.
  void PassFixedChoice() { ++ordinal_; }

 private:
  std::optional<HoldFollower> holds_;
  absl::Span<const Decision> left_;
  uint64_t ordinal_ = 0;
};

// Replays shortened schedules, one after the other.
class Candidates final : public Strategy {
 public:
  explicit Candidates(absl::Span<const Schedule> candidates) : candidates_(candidates) {}

  std::string_view name() const override { return "shrink"; }
  bool repeats() const override { return true; }
  bool BeginRun() override {
    if (next_ == candidates_.size()) return false;
    replay_.Begin(candidates_[next_++]);
    return true;
  }
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    return replay_.Pick(kind, options);
  }
  void OnFixedChoice(ChoiceKind, absl::Span<const Option>) override { replay_.PassFixedChoice(); }

 private:
  const absl::Span<const Schedule> candidates_;
  size_t next_ = 0;
  LooseReplay replay_;
};

// The beginning of a schedule, and behind it every run with few delays.
class FewDelaysBehind final : public Strategy {
 public:
  FewDelaysBehind(const Schedule& beginning, uint32_t delays)
      : beginning_(beginning), search_(delays) {}

  std::string_view name() const override { return "shrink"; }
  bool repeats() const override { return true; }
  bool BeginRun() override {
    replay_.Begin(beginning_);
    return search_.BeginRun();
  }
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    if (!replay_.is_over()) return replay_.Pick(kind, options);
    const bool is_order = kind == ChoiceKind::kStep || kind == ChoiceKind::kWake;
    return is_order ? search_.Pick(kind, options) : 0;
  }
  void OnFixedChoice(ChoiceKind, absl::Span<const Option>) override { replay_.PassFixedChoice(); }
  void EndRun(const RunSummary& summary) override { search_.EndRun(summary); }

 private:
  const Schedule& beginning_;
  LooseReplay replay_;
  DelayBounded search_;
};

class Shrinker {
 public:
  Shrinker(const Scenario& scenario, const Finding& finding, const ShrinkOptions& options)
      : scenario_(scenario), options_(options), best_(finding), start_(clock_.Now()) {}

  void ShrinkAll() {
    if (IsScheduleOnly()) FindWithFewDelays(0, 1);
    HoldBackWhoeverWaited();
    TakeOutHolds();
    CutTheEnd();
    TakeOutLabels();
    TakeOutParts();
    ShortenHolds();
    if (IsScheduleOnly()) FindWithFewDelays(2, 2);
    if (IsScheduleOnly() && schedule().holds.empty()) FindBehindBeginnings();
  }

  const Finding& best() const { return best_; }
  uint64_t replays() const { return replays_; }
  Nanoseconds time() const { return clock_.Now() - start_; }

 private:
  const Schedule& schedule() const { return best_.schedule; }

  ExploreOptions Budget(uint64_t schedules) const {
    ExploreOptions options;
    options.isolation = options_.isolation;
    options.fair_factor = options_.fair_factor;
    options.wanted_signature = best_.failure.signature;
    options.run_twice_one_in = IsOfTwoRuns() ? 1 : 0;
    const uint64_t left = options_.replays_max - std::min(options_.replays_max, replays_);
    options.budget.schedules = std::min(schedules, left);
    options.budget.time = std::max<Nanoseconds>(options_.time_max - time(), 0);
    return options;
  }
  // A part of what is left.
  ExploreOptions BudgetOf(uint64_t share) const {
    ExploreOptions options = Budget(options_.replays_max / share);
    options.budget.time =
        std::min(options.budget.time, options_.time_max / static_cast<Nanoseconds>(share));
    return options;
  }
  bool IsSpent() const { return replays_ >= options_.replays_max || time() >= options_.time_max; }

  bool IsScheduleOnly() const {
    return std::all_of(schedule().deviations.begin(), schedule().deviations.end(),
                       [](const Decision& each) {
                         return each.kind == ChoiceKind::kStep || each.kind == ChoiceKind::kWake;
                       });
  }

  // What shows only when a schedule is run twice is not in the recording of one run.
  bool IsOfTwoRuns() const { return best_.failure.signature == kNotDeterministic; }

  bool IsSameFailure(const ExploreReport& report) const {
    return report.finding && report.finding->failure.signature == best_.failure.signature &&
           (IsOfTwoRuns() ||
            report.finding->recording.failure.signature == best_.failure.signature);
  }

  // Keeps a run that went wrong in the same way, if its schedule is shorter.
  bool Keep(const Finding& finding, Schedule shorter) {
    if (shorter.size() >= schedule().size()) return false;
    const uint64_t at_schedule = best_.at_schedule;
    best_ = finding;
    best_.schedule = std::move(shorter);
    best_.at_schedule = at_schedule;
    return true;
  }

  // One run found by a search, written down as deviations alone.
  bool Search(Strategy& strategy, const ExploreOptions& options) {
    const ExploreReport report = Explore(scenario_, strategy, options);
    replays_ += report.schedules;
    return IsSameFailure(report) && Keep(*report.finding, report.finding->schedule);
  }

  void FindWithFewDelays(uint32_t bound_min, uint32_t bound_max) {
    const Schedule nothing;
    for (uint32_t bound = bound_min; bound <= bound_max && schedule().size() > bound; ++bound) {
      FewDelaysBehind strategy(nothing, bound);
      if (Search(strategy, BudgetOf(6))) return;
    }
  }

  // What is needed of the beginning, when a delay or two may take the place of the rest.
  void FindBehindBeginnings() {
    for (size_t length = 1; length + 1 < schedule().deviations.size() && !IsSpent(); ++length) {
      const Schedule beginning = Prefix(length);
      const auto rest = static_cast<uint32_t>(schedule().deviations.size() - length - 1);
      FewDelaysBehind strategy(beginning, std::min(rest, 2u));
      if (Search(strategy, BudgetOf(10))) length = 0;
    }
  }

  // Tries candidates until one goes wrong in the same way and is shorter.
  bool TryAll(absl::Span<const Schedule> candidates) {
    while (!candidates.empty() && !IsSpent()) {
      Candidates strategy(candidates);
      const ExploreReport report = Explore(scenario_, strategy, Budget(candidates.size()));
      replays_ += report.schedules;
      if (!report.finding) return false;
      const size_t tried = static_cast<size_t>(report.schedules);
      if (IsSameFailure(report) && KeepCandidate(candidates[tried - 1], *report.finding)) {
        return true;
      }
      candidates.remove_prefix(tried);
    }
    return false;
  }

  // A run with holds is written down with them, if that is shorter than without.
  bool KeepCandidate(const Schedule& candidate, const Finding& finding) {
    const Schedule with_holds = BesideHolds(finding.recording, candidate.holds);
    if (candidate.holds.empty() || finding.schedule.size() <= with_holds.size()) {
      return Keep(finding, finding.schedule);
    }
    return with_holds.size() < schedule().size() && GoesWrong(with_holds) &&
           Keep(finding, with_holds);
  }

  // A run as its deviations from what these holds alone lead to.
  static Schedule BesideHolds(const Recording& recording, const std::vector<Hold>& holds) {
    Schedule schedule;
    schedule.holds = holds;
    HoldFollower follower(schedule);
    std::vector<Option> options;
    for (const RecordedChoice& choice : recording.choices) {
      options.clear();
      for (const RecordedOption& each : choice.options) {
        options.push_back({each.actor, each.name, each.detail});
      }
      const bool is_step = choice.kind == ChoiceKind::kStep;
      if (choice.taken == (is_step ? follower.FirstNotHeld(choice.ordinal, options) : 0)) continue;
      schedule.deviations.push_back(choice.ToDecision());
    }
    return schedule;
  }

  // ---- Holds ------------------------------------------------------------------------------------

  struct PassedOver {
    std::string party;
    uint64_t actor = 0;             // if it is one of several with that name
    std::optional<uint32_t> which;  // the same
    std::vector<uint64_t> at;       // choices
  };

  // By name, or each coroutine and each request by itself.
  std::vector<PassedOver> WhoWasPassedOver(bool by_name) const {
    std::vector<PassedOver> parties;
    for (const RecordedChoice& choice : best_.recording.choices) {
      if (choice.kind != ChoiceKind::kStep || !choice.is_deviation()) continue;
      for (size_t i = 0; i < choice.taken; ++i) {
        const RecordedOption& option = choice.options[i];
        const uint64_t actor = by_name ? 0 : option.actor;
        if (!by_name && actor == 0) continue;  // a timer: its name says all
        auto found = std::find_if(parties.begin(), parties.end(), [&](const PassedOver& each) {
          return each.party == option.name && each.actor == actor;
        });
        if (found == parties.end()) {
          parties.push_back({option.name, actor, std::nullopt, {}});
          found = parties.end() - 1;
          if (!by_name) {
            found->which = static_cast<uint32_t>(std::count_if(
                choice.options.begin(), choice.options.begin() + static_cast<ptrdiff_t>(i),
                [&](const RecordedOption& each) { return each.name == option.name; }));
          }
        }
        if (found->at.empty() || found->at.back() != choice.ordinal) {
          found->at.push_back(choice.ordinal);
        }
      }
    }
    std::erase_if(parties, [](const PassedOver& each) { return each.at.size() < kPassedOverMin; });
    std::stable_sort(parties.begin(), parties.end(), [](const PassedOver& a, const PassedOver& b) {
      return a.at.size() > b.at.size();
    });
    return parties;
  }

  void HoldBackWhoeverWaited() {
    constexpr size_t kPartiesMax = 6;
    std::vector<PassedOver> parties = WhoWasPassedOver(true);
    std::vector<Schedule> candidates;
    // All, if no few are enough: who can be spared is seen afterwards.
    if (parties.size() > 3) AddHolds(parties, candidates);
    parties.resize(std::min(parties.size(), kPartiesMax));
    for (size_t i = 0; i < parties.size(); ++i) {
      AddHolds({parties[i]}, candidates);
      for (size_t j = 0; j < i; ++j) {
        AddHolds({parties[j], parties[i]}, candidates);
        for (size_t k = 0; k < j; ++k) AddHolds({parties[k], parties[j], parties[i]}, candidates);
      }
    }
    // One of several with a name, as the only one or with another.
    parties = WhoWasPassedOver(false);
    parties.resize(std::min(parties.size(), kPartiesMax));
    for (size_t i = 0; i < parties.size(); ++i) {
      AddHolds({parties[i]}, candidates);
      for (size_t j = 0; j < i; ++j) AddHolds({parties[j], parties[i]}, candidates);
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Schedule& a, const Schedule& b) { return a.size() < b.size(); });
    TryAll(candidates);
  }

  // These parties held from first to last, or to the end, in place of all other deviations, or
  // besides those that were made before and after.
  void AddHolds(const std::vector<PassedOver>& parties, std::vector<Schedule>& candidates) const {
    const uint64_t last_max =
        best_.failure.signature == kNoEnd ? scenario_.choices_max / 2 : scenario_.choices_max;
    for (const bool to_the_end : {false, true}) {
      Schedule only;
      for (const PassedOver& each : parties) {
        const uint64_t last = to_the_end ? last_max : std::min(last_max, each.at.back());
        only.holds.push_back(
            {each.at.front(), std::max(each.at.front(), last), each.party, each.which});
      }
      Schedule with_rest = only;
      for (const Decision& each : schedule().deviations) {
        const bool is_covered =
            std::any_of(only.holds.begin(), only.holds.end(), [&](const Hold& hold) {
              return hold.first <= each.ordinal && each.ordinal <= hold.last;
            });
        if (!is_covered) with_rest.deviations.push_back(each);
      }
      candidates.push_back(std::move(only));
      if (!with_rest.deviations.empty()) candidates.push_back(std::move(with_rest));
    }
  }

  void TakeOutHolds() {
    for (size_t i = schedule().holds.size(); i-- > 0 && !IsSpent();) {
      Schedule shorter = schedule();
      shorter.holds.erase(shorter.holds.begin() + static_cast<ptrdiff_t>(i));
      TryAll(absl::MakeConstSpan(&shorter, 1));
      i = std::min(i, schedule().holds.size());
    }
  }

  // A hold that ends sooner says more. As long it is no more than one deviation, so any that goes
  // wrong will do.
  void ShortenHolds() {
    for (size_t i = 0; i < schedule().holds.size(); ++i) {
      while (!IsSpent()) {
        Schedule shorter = schedule();
        Hold& hold = shorter.holds[i];
        hold.last = hold.first + (hold.last - hold.first) / 2;
        if (hold.last == schedule().holds[i].last || !GoesWrong(shorter)) break;
        best_.schedule = shorter;
      }
    }
    if (!schedule().holds.empty())
      best_.recording = Replay(scenario_, schedule(), Budget(1)).recording;
  }
  bool GoesWrong(const Schedule& candidate) {
    ExploreOptions options;
    options.isolation = options_.isolation;
    options.fair_factor = options_.fair_factor;
    ++replays_;
    const ReplayReport replay = Replay(scenario_, candidate, options);
    return replay.stale.ok() && replay.recording.failure.signature == best_.failure.signature;
  }

  // ---- Delta debugging --------------------------------------------------------------------------

  Schedule Prefix(size_t length) const {
    Schedule prefix = schedule();
    prefix.deviations.resize(length);
    return prefix;
  }

  void CutTheEnd() {
    std::vector<Schedule> prefixes;
    for (size_t length = 0; length < schedule().deviations.size(); ++length) {
      prefixes.push_back(Prefix(length));
    }
    TryAll(prefixes);
  }

  // All that one party does out of turn at one place: what belongs together lies far apart in a
  // long schedule, and is no part of it that could be cut out.
  void TakeOutLabels() {
    std::vector<std::string> labels;
    for (const Decision& each : schedule().deviations) labels.push_back(each.label);
    std::sort(labels.begin(), labels.end());
    labels.erase(std::unique(labels.begin(), labels.end()), labels.end());
    for (const std::string& label : labels) {
      if (IsSpent()) return;
      Schedule shorter = schedule();
      std::erase_if(shorter.deviations, [&](const Decision& each) { return each.label == label; });
      if (shorter.size() + 1 < schedule().size()) TryAll(absl::MakeConstSpan(&shorter, 1));
    }
  }

  void TakeOutParts() {
    auto half = [&] { return std::max<size_t>(schedule().deviations.size() / 2, 1); };
    for (size_t part = half(); part > 0 && !IsSpent();) {
      if (TryAll(WithoutEachPart(part))) {
        part = std::min(part, half());
        if (schedule().deviations.empty()) return;
      } else {
        part /= 2;
      }
    }
  }

  // From the end: what comes late is less likely to move the rest.
  std::vector<Schedule> WithoutEachPart(size_t part) const {
    std::vector<Schedule> candidates;
    const size_t count = schedule().deviations.size();
    for (size_t end = count; end > 0; end -= std::min(part, end)) {
      Schedule shorter = schedule();
      const size_t begin = end - std::min(part, end);
      shorter.deviations.erase(shorter.deviations.begin() + static_cast<ptrdiff_t>(begin),
                               shorter.deviations.begin() + static_cast<ptrdiff_t>(end));
      candidates.push_back(std::move(shorter));
    }
    return candidates;
  }

  const Scenario& scenario_;
  const ShrinkOptions& options_;
  Finding best_;
  const RealClock clock_;
  const Nanoseconds start_;
  uint64_t replays_ = 0;
};

}  // namespace

ShrinkReport Shrink(const Scenario& scenario, const Finding& finding,
                    const ShrinkOptions& options) {
  Shrinker shrinker(scenario, finding, options);
  shrinker.ShrinkAll();
  ShrinkReport report;
  report.finding = shrinker.best();
  report.deviations_before = finding.schedule.size();
  report.replays = shrinker.replays();
  report.time = shrinker.time();
  return report;
}

}  // namespace millrace
