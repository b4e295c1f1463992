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
// What costs more than a step, in steps: a process of its own, a step that is recorded.
constexpr uint64_t kStepsPerProcess = 2000;
constexpr uint64_t kStepsPerRecordedStep = 10;

bool HasLabel(const Option& option, std::string_view label) {
  return label.size() == option.name.size() + 1 + option.detail.size() &&
         label.substr(0, option.name.size()) == option.name && label[option.name.size()] == '@' &&
         label.substr(option.name.size() + 1) == option.detail;
}

bool IsOfOrder(const Decision& deviation) {
  return deviation.kind == ChoiceKind::kStep || deviation.kind == ChoiceKind::kWake;
}

// Where what is no order (an outcome, a value, a crash) is put: not much later than recorded, or
// wherever it is offered. Who shortens what comes before it by many choices has to look anywhere.
enum class Fit : uint8_t { kNear, kAnywhere };

// Takes a schedule's deviations where they fit, and production's order elsewhere.
class LooseReplay {
 public:
  void Begin(const Schedule& schedule, Fit fit) {
    holds_.emplace(schedule);
    near_.clear();
    anywhere_.clear();
    for (const Decision& each : schedule.deviations) {
      (IsOfOrder(each) || fit == Fit::kNear ? near_ : anywhere_).push_back(&each);
    }
    next_near_ = 0;
    ordinal_ = 0;
  }
  bool is_over() const { return next_near_ == near_.size() && anywhere_.empty(); }

  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) {
    const uint64_t ordinal = ordinal_++;
    const size_t free = kind == ChoiceKind::kStep ? holds_->FirstNotHeld(ordinal, options) : 0;
    for (auto each = anywhere_.begin(); each != anywhere_.end(); ++each) {
      if (const std::optional<size_t> found = Find(**each, kind, options)) {
        anywhere_.erase(each);
        return *found;
      }
    }
    while (next_near_ < near_.size() && near_[next_near_]->ordinal + kSlack < ordinal) ++next_near_;
    if (next_near_ < near_.size() && near_[next_near_]->ordinal <= ordinal) {
      if (const std::optional<size_t> found = Find(*near_[next_near_], kind, options)) {
        ++next_near_;
        return *found;
      }
    }
    return free;
  }
  // Nothing deviates here.
  void PassFixedChoice() { ++ordinal_; }

 private:
  static std::optional<size_t> Find(const Decision& wanted, ChoiceKind kind,
                                    absl::Span<const Option> options) {
    if (wanted.kind != kind) return std::nullopt;
    uint32_t equals = 0;
    std::optional<size_t> found;
    for (size_t i = 0; i < options.size(); ++i) {
      if (!HasLabel(options[i], wanted.label)) continue;
      found = i;
      if (equals++ == wanted.equals_before) break;
    }
    return found;
  }

  std::optional<HoldFollower> holds_;
  std::vector<const Decision*> near_;
  std::vector<const Decision*> anywhere_;
  size_t next_near_ = 0;
  uint64_t ordinal_ = 0;
};

// Replays shortened schedules, one after the other.
class Candidates final : public Strategy {
 public:
  Candidates(absl::Span<const Schedule> candidates, Fit fit) : candidates_(candidates), fit_(fit) {}

  std::string_view name() const override { return "shrink"; }
  bool repeats() const override { return true; }
  bool BeginRun() override {
    if (next_ == candidates_.size()) return false;
    replay_.Begin(candidates_[next_++], fit_);
    return true;
  }
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    return replay_.Pick(kind, options);
  }
  void OnFixedChoice(ChoiceKind, absl::Span<const Option>) override { replay_.PassFixedChoice(); }

 private:
  const absl::Span<const Schedule> candidates_;
  const Fit fit_;
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
    replay_.Begin(beginning_, Fit::kNear);
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
    if (schedule().size() == 0) return;
    // Production's order first: it shows many a failure, and with it there is nothing left to do.
    TryAll({Schedule(), ValuesAlone()});
    for (void (Shrinker::*phase)() :
         {&Shrinker::FindWithOneDelay, &Shrinker::FindWithLongDelays,
          &Shrinker::HoldBackWhoeverWaited, &Shrinker::TakeOutHolds, &Shrinker::CutTheEnd,
          &Shrinker::TakeOutLabels, &Shrinker::TakeOutParts, &Shrinker::FindWithTwoDelays,
          &Shrinker::FindBehindBeginnings}) {
      // Shorter is only the empty schedule, which has been tried.
      if (schedule().size() <= 1) break;
      (this->*phase)();
    }
    ShortenHolds();
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
    options.budget.steps = options_.steps_max - std::min(options_.steps_max, steps_);
    return options;
  }
  // A part of what is left.
  ExploreOptions BudgetOf(uint64_t share) const {
    ExploreOptions options = Budget(options_.replays_max / share);
    options.budget.steps = std::min(options.budget.steps, options_.steps_max / share);
    return options;
  }
  bool IsSpent() const { return replays_ >= options_.replays_max || steps_ >= options_.steps_max; }
  void Count(const ExploreReport& report) {
    replays_ += report.schedules;
    steps_ += report.steps + kStepsPerProcess;
    if (report.finding) CountRecording(report.finding->recording);
  }
  // Made by a process of its own.
  void CountRecording(const Recording& recording) {
    steps_ += recording.steps.size() * kStepsPerRecordedStep + kStepsPerProcess;
  }
  void CountReplay() {
    ++replays_;
    CountRecording(best_.recording);
  }

  bool IsScheduleOnly() const {
    return std::all_of(schedule().deviations.begin(), schedule().deviations.end(), &IsOfOrder);
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
    Count(report);
    return IsSameFailure(report) && Keep(*report.finding, report.finding->schedule);
  }

  void FindWithOneDelay() { FindWithDelays(1); }
  void FindWithTwoDelays() { FindWithDelays(2); }
  void FindWithDelays(uint32_t delays) {
    if (!IsScheduleOnly() || schedule().size() <= delays) return;
    const Schedule nothing;
    FewDelaysBehind strategy(nothing, delays);
    Search(strategy, BudgetOf(6));
  }

  // Everybody whom production's order would run next, held back from there for a while: one at a
  // time, then some pairs. Not to the end: then whoever polls for the held one makes a run endless.
  void FindWithLongDelays() {
    constexpr size_t kPlacesMax = 300;
    constexpr size_t kPairs = 600;
    const Schedule values = ValuesAlone();
    if (schedule().size() < values.size() + 2 || IsOfTwoRuns() || IsSpent()) return;
    std::vector<Hold> holds;
    for (const RecordedChoice* choice : ProductionsSteps(values, kPlacesMax)) {
      const RecordedOption& first = choice->options.front();
      const auto equals = std::count_if(choice->options.begin(), choice->options.end(),
                                        [&](const auto& each) { return each.name == first.name; });
      for (const uint64_t choices : {8u, 64u, 256u}) {
        holds.push_back({choice->ordinal, choice->ordinal + choices - 1, first.name});
        if (equals > 1) holds.back().which = 0;
      }
    }
    std::vector<Schedule> candidates;
    for (const Hold& each : holds) candidates.push_back({values.deviations, {each}});
    if (holds.empty() || TryAll(candidates)) return;
    candidates.clear();
    RandomStream random(1, "pairs of holds");
    for (size_t i = 0; i < kPairs; ++i) {
      const Hold& one = holds[random.Below(holds.size())];
      candidates.push_back({values.deviations, {one, holds[random.Below(holds.size())]}});
    }
    if (schedule().size() > values.size() + 2) TryAll(candidates);
  }
  // The choices of a step in production's order, evenly picked if there are many.
  std::vector<const RecordedChoice*> ProductionsSteps(const Schedule& values, size_t count_max) {
    CountReplay();
    productions_ = Replay(scenario_, values, Budget(1)).recording;
    std::vector<const RecordedChoice*> steps;
    for (const RecordedChoice& choice : productions_.choices) {
      if (choice.kind == ChoiceKind::kStep) steps.push_back(&choice);
    }
    const size_t every = steps.size() / count_max + 1;
    std::vector<const RecordedChoice*> picked;
    for (size_t i = 0; i < steps.size(); i += every) picked.push_back(steps[i]);
    return picked;
  }

  // What is needed of the beginning, when a delay or two may take the place of the rest.
  void FindBehindBeginnings() {
    if (!IsScheduleOnly() || !schedule().holds.empty()) return;
    for (size_t length = 1; length + 1 < schedule().deviations.size() && !IsSpent(); ++length) {
      const Schedule beginning = Prefix(length);
      const auto rest = static_cast<uint32_t>(schedule().deviations.size() - length - 1);
      FewDelaysBehind strategy(beginning, std::min(rest, 2u));
      if (Search(strategy, BudgetOf(10))) length = 0;
    }
  }

  // Tries candidates until one goes wrong in the same way and is shorter.
  bool TryAll(absl::Span<const Schedule> candidates) {
    if (TryAll(candidates, Fit::kNear)) return true;
    return !IsScheduleOnly() && TryAll(candidates, Fit::kAnywhere);
  }
  bool TryAll(absl::Span<const Schedule> candidates, Fit fit) {
    while (!candidates.empty() && !IsSpent()) {
      Candidates strategy(candidates, fit);
      const ExploreReport report = Explore(scenario_, strategy, Budget(candidates.size()));
      Count(report);
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

  uint64_t LastToHold() const {
    return best_.failure.signature == kNoEnd ? scenario_.choices_max / 2 : scenario_.choices_max;
  }
  // What was decided otherwise than production does, but for orders.
  Schedule ValuesAlone() const {
    Schedule values;
    for (const Decision& each : schedule().deviations) {
      if (!IsOfOrder(each)) values.deviations.push_back(each);
    }
    return values;
  }

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
    std::erase_if(candidates,
                  [&](const Schedule& each) { return each.size() >= schedule().size(); });
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Schedule& a, const Schedule& b) { return a.size() < b.size(); });
    if (!TryAll(candidates)) HoldBackOneForJustSoLong();
  }

  // Others have to come first, but not too many of them: one party held for every number of choices
  // up to a few dozen, beside what was decided otherwise than by orders.
  void HoldBackOneForJustSoLong() {
    constexpr uint64_t kChoicesMax = 64;
    const Schedule values = ValuesAlone();
    if (schedule().size() <= values.size() + 1) return;
    std::vector<PassedOver> parties = WhoWasPassedOver(true);
    parties.resize(std::min<size_t>(parties.size(), 3));
    std::vector<Schedule> candidates;
    for (const PassedOver& each : parties) {
      for (uint64_t choices = 1; choices <= kChoicesMax; ++choices) {
        candidates.push_back(values);
        candidates.back().holds.push_back(
            {each.at.front(), each.at.front() + choices - 1, each.party, each.which});
      }
    }
    TryAll(candidates);
  }

  // These parties held from first to last, or to the end, in place of all other deviations, or
  // besides those that were made before and after.
  void AddHolds(const std::vector<PassedOver>& parties, std::vector<Schedule>& candidates) const {
    const uint64_t last_max = LastToHold();
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
      Schedule with_values = ValuesAlone();
      with_values.holds = only.holds;
      if (!with_values.deviations.empty()) candidates.push_back(std::move(with_values));
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
    CountReplay();
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
  Recording productions_;  // of the run without deviations of order
  const RealClock clock_;
  const Nanoseconds start_;
  uint64_t replays_ = 0;
  uint64_t steps_ = 0;  // of all of them, as ShrinkOptions::steps_max counts
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
