#include "millrace/engine/explore/explorer.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <utility>
#include <vector>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/explore/child_process.h"
#include "millrace/engine/explore/exploring_decider.h"
#include "millrace/engine/explore/recorder.h"
#include "millrace/engine/explore/trace_counter.h"
#include "millrace/engine/scheduler/exploration_site.h"

namespace millrace {
namespace {

constexpr uint64_t kChoicesMax = 1'000'000;
constexpr size_t kRecordingBytes = 64 << 20;
// Runs that begin within so short a time share one setting of the watchdog, which takes two system
// calls.
constexpr Nanoseconds kBetweenFeedings = 10 * kMillisecond;
constexpr uint64_t kRunsPerRunWithChecks = 64;
constexpr uint64_t kStepsPerChoice = 50;
// A run that takes less is given as much time as one of these.
constexpr uint64_t kFairStepsMin = 100;
constexpr Nanoseconds kFairTimeMin = kSecond;
constexpr std::string_view kBrokenInvariant = "INTERNAL ";  // see SignatureOf
constexpr size_t kSitesMax = 1024;

template <size_t kBytes>
struct FixedText {
  std::array<char, kBytes> bytes;
  void Set(std::string_view text) {
    const size_t length = std::min(text.size(), kBytes - 1);
    std::copy_n(text.begin(), length, bytes.begin());
    bytes[length] = '\0';
  }
  std::string Get() const { return std::string(bytes.data()); }
};

// What the child tells the parent. Plain data in shared memory, all zeroes at first.
struct Shared {
  uint64_t schedules;
  uint64_t steps;
  uint64_t choices;
  uint64_t choices_max;
  uint64_t traces;
  uint64_t traces_seen_once;
  uint64_t trace_hash;  // of the latest run
  bool is_complete;
  bool has_ended;  // the child came to its end and was not ended by something else
  FixedText<512> signature;
  FixedText<16384> text;
  FixedText<512> progress;
  uint32_t choice_count;
  std::array<uint16_t, kChoicesMax> indices;
  std::array<uint64_t, kSitesMax> site_hits;

  ChoiceLog log() { return {&choice_count, absl::MakeSpan(indices), absl::MakeSpan(site_hits)}; }
  void SetFailure(const Failure& failure) {
    signature.Set(failure.signature);
    text.Set(failure.text);
  }
};

// Repeats the indices of a run.
class Repeat final : public Strategy {
 public:
  explicit Repeat(absl::Span<const uint16_t> indices) : indices_(indices.begin(), indices.end()) {}
  std::string_view name() const override { return "repeat"; }
  bool repeats() const override { return true; }
  bool BeginRun() override {
    next_ = 0;
    return true;
  }
  size_t Pick(ChoiceKind, absl::Span<const Option> options) override {
    const size_t taken = next_ < indices_.size() ? indices_[next_] : 0;
    ++next_;
    return taken < options.size() ? taken : 0;
  }
  void OnFixedChoice(ChoiceKind, absl::Span<const Option>) override { ++next_; }

 private:
  std::vector<uint16_t> indices_;
  size_t next_ = 0;
};

// Follows a schedule by its labels.
class Follow final : public Strategy {
 public:
  using StaleText = FixedText<4096>;

  // What does not fit is written to `stale` as soon as it is known: a run may end at any moment.
  Follow(const Schedule& schedule, StaleText& stale)
      : schedule_(schedule), stale_(stale), holds_(schedule), decider_(schedule.deviations) {}
  std::string_view name() const override { return "replay"; }
  bool repeats() const override { return true; }
  bool BeginRun() override { return true; }
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    const uint64_t ordinal = ordinal_++;
    if (!status_.ok()) return 0;
    size_t taken = decider_.Pick(kind, options);
    // Beside holds, a deviation may be to take option 0.
    const bool deviates =
        next_ < schedule_.deviations.size() && schedule_.deviations[next_].ordinal == ordinal;
    if (deviates) ++next_;
    if (kind == ChoiceKind::kStep) {
      const size_t not_held = holds_.FirstNotHeld(ordinal, options);
      if (!deviates) taken = not_held;
    }
    Expect(decider_.status());
    Expect(holds_.status());
    return taken;
  }
  void OnFixedChoice(ChoiceKind kind, absl::Span<const Option> options) override {
    const uint64_t ordinal = ordinal_;
    if (Pick(kind, options) == 0) return;
    Expect(absl::FailedPreconditionError(
        StrCat("schedule is stale: it deviates at choice ", ordinal,
               ", where the scenario keeps faults and odd branches off; record it again")));
  }
  void Finish() {
    Expect(decider_.Finish());
    Expect(holds_.Finish());
  }

 private:
  void Expect(const absl::Status& status) {
    if (status.ok() || !status_.ok()) return;
    status_ = status;
    stale_.Set(FromAbsl(status.message()));
  }

  const Schedule& schedule_;
  StaleText& stale_;
  HoldFollower holds_;
  ReplayDecider decider_;
  absl::Status status_;
  uint64_t ordinal_ = 0;
  size_t next_ = 0;  // deviation
};

// One process's part of an exploration.
class Explorer {
 public:
  Explorer(const Scenario& scenario, Strategy& strategy, const ExploreOptions& options,
           Shared& shared)
      : scenario_(scenario),
        strategy_(strategy),
        options_(options),
        shared_(shared),
        decider_(scenario.explored, &strategy, shared.log()) {
    decider_.SetLimit(std::min(scenario.choices_max, kChoicesMax), &OnEndless, this);
  }

  // Until the budget is spent, all is shown or something is found.
  void RunAll() {
    const Nanoseconds start = clock_.Now();
    MeasureProduction();
    while (shared_.schedules < options_.budget.schedules && shared_.steps < options_.budget.steps) {
      if (FeedTheWatchdog() - start >= options_.budget.time) break;
      if (!strategy_.BeginRun()) {
        shared_.is_complete = true;
        break;
      }
      const RunSummary summary = RunOnce();
      strategy_.EndRun(summary);
      if (options_.counts_traces) traces_.Add(summary.trace_hash);
      if (summary.has_failed) break;
      if (options_.run_twice_one_in != 0 && shared_.schedules % options_.run_twice_one_in == 0 &&
          !RunsAgain(summary)) {
        break;
      }
    }
    shared_.traces = traces_.distinct();
    shared_.traces_seen_once = traces_.seen_once();
    shared_.progress.Set(strategy_.Progress());
    shared_.has_ended = true;
  }

  // What production's own run takes, for the limits of the others. Not counted among them.
  void MeasureProduction() {
    limits_.steps = std::min(scenario_.choices_max, kChoicesMax) * kStepsPerChoice;
    if (options_.fair_factor == 0) return;
    FeedTheWatchdog();
    RunBeside({}, [&](const ScenarioRun& run, uint64_t) {
      limits_.fair_steps = options_.fair_factor * std::max(run.steps(), kFairStepsMin);
      limits_.fair_time = options_.fair_factor * std::max(run.time(), kFairTimeMin);
    });
    limits_.deviations = decider_.deviations();
  }

  RunSummary RunOnce() {
    ++shared_.schedules;
    decider_.BeginRun();
    RunSummary summary;
    {
      ScenarioRun run(decider_, stacks_);
      run_ = &run;
      run.SetLimits(limits_);
      decider_.SetFaultSwitch(run.has_faults());
      run.SetInvariantChecks(
          scenario_.checks_invariants,
          scenario_.checks_invariants &&
              (strategy_.repeats() || shared_.schedules % kRunsPerRunWithChecks == 1));
      run.SetAbandoner(options_.isolation == Isolation::kChildProcess ? &OnAbandoned : nullptr,
                       this);
      run.Finish(scenario_.body(run));
      summary = {decider_.choices(), run.steps(), run.trace_hash(), run.outcome(),
                 run.has_failed()};
      if (run.has_failed()) shared_.SetFailure(run.failure());
      run_ = nullptr;
    }
    shared_.steps += summary.steps;
    shared_.choices += summary.choices;
    shared_.choices_max = std::max(shared_.choices_max, summary.choices);
    shared_.trace_hash = summary.trace_hash;
    return summary;
  }

  void SetRecorder(Recorder* recorder) { decider_.SetRecorder(recorder); }

 private:
  // The run that begins now has all the time that one may take. Returns what the clock says.
  Nanoseconds FeedTheWatchdog() {
    const Nanoseconds now = clock_.Now();
    if (options_.isolation == Isolation::kChildProcess && now - fed_at_ >= kBetweenFeedings) {
      KillChildAfter(options_.hang_seconds);
      fed_at_ = now;
    }
    return now;
  }
  // The same choices once more; they must lead to the same steps.
  bool RunsAgain(const RunSummary& before) {
    FeedTheWatchdog();
    bool is_same = false;
    is_second_run_ = true;
    RunBeside(absl::MakeConstSpan(shared_.indices).first(shared_.choice_count),
              [&](const ScenarioRun& run, uint64_t choices) {
                is_same = run.trace_hash() == before.trace_hash && choices == before.choices;
              });
    is_second_run_ = false;
    if (!is_same) shared_.SetFailure(OtherSteps());
    return is_same;
  }
  // A run that is not the strategy's, of these choices; what sites it meets does not count.
  void RunBeside(absl::Span<const uint16_t> indices,
                 absl::FunctionRef<void(const ScenarioRun& run, uint64_t choices)> at_end) {
    Repeat repeat(indices);
    repeat.BeginRun();
    ChoiceLog log = shared_.log();
    log.site_hits = {};
    ExploringDecider decider(scenario_.explored, &repeat, log);
    decider.SetLimit(std::min(scenario_.choices_max, kChoicesMax), &OnEndless, this);
    decider.BeginRun();
    ScenarioRun run(decider, stacks_);
    run_ = &run;
    run.SetInvariantChecks(scenario_.checks_invariants, false);
    run.SetAbandoner(options_.isolation == Isolation::kChildProcess ? &OnAbandoned : nullptr, this);
    run.Finish(scenario_.body(run));
    run_ = nullptr;
    at_end(run, decider.choices());
  }
  static Failure OtherSteps() {
    return {std::string(kNotDeterministic),
            "the same choices led to other steps: something in the scenario is not decided by the "
            "decider (a clock, an address, a hash table's order)"};
  }

  static void OnAbandoned(void* context, const Failure& failure) {
    auto* self = static_cast<Explorer*>(context);
    // The first of the two runs went well.
    self->shared_.SetFailure(self->is_second_run_ ? OtherSteps() : failure);
    self->shared_.steps += self->run_->steps();
    EndChild();
  }
  static void OnEndless(void* context) {
    auto* self = static_cast<Explorer*>(context);
    self->run_->Abandon("O11 no end", StrCat("the run has made ", self->scenario_.choices_max,
                                             " choices and is not over: ",
                                             self->run_->engine().scheduler().DescribeWaits()));
  }

  const Scenario& scenario_;
  Strategy& strategy_;
  const ExploreOptions& options_;
  Shared& shared_;
  ExploringDecider decider_;
  StackPool stacks_;
  RealClock clock_;
  Nanoseconds fed_at_ = -kBetweenFeedings;
  TraceCounter traces_;
  ScenarioRun::Limits limits_;
  ScenarioRun* run_ = nullptr;
  bool is_second_run_ = false;
};

// A failed check says where and what: "file:12: check failed: condition: message".
Failure FailureOfCrash(const ChildEnd& end) {
  constexpr std::string_view kMark = ": check failed: ";
  const std::string& text = end.stderr_text;
  const size_t mark = text.find(kMark);
  if (mark == std::string::npos) {
    constexpr std::string_view kSanitizer = "SUMMARY: ";
    const size_t summary = text.find(kSanitizer);
    if (summary == std::string::npos) return {end.how, text};
    return {text.substr(summary, text.find(" in ", summary) - summary), text};
  }
  const size_t start = text.rfind('\n', mark) + 1;  // npos + 1 is 0
  std::string place = text.substr(start, mark - start);
  place.resize(std::min(place.size(), place.rfind(':')));  // the line number
  const size_t slash = place.rfind('/');
  if (slash != std::string::npos) place.erase(0, slash + 1);
  const size_t condition = mark + kMark.size();
  const size_t condition_end = text.find(": ", condition);
  return {StrCat("check ", place, ": ", text.substr(condition, condition_end - condition)), text};
}

// What the child says, or what it died of.
Failure FailureOf(const ChildEnd& end, const Shared& shared) {
  if (!end.is_clean) return FailureOfCrash(end);
  Failure failure{shared.signature.Get(), shared.text.Get()};
  if (failure.signature.empty() && !shared.has_ended) {
    failure = {"ended early",
               StrCat("something ended the process in the middle of a run, as if all were well\n",
                      end.stderr_text)};
  }
  return failure;
}

ChildEnd RunPart(const ExploreOptions& options, absl::FunctionRef<void()> part) {
  if (options.isolation == Isolation::kChildProcess) return RunInChild(part);
  part();
  ChildEnd end;
  end.is_clean = true;
  return end;
}

struct Repetition {
  Recording recording;
  uint64_t trace_hash = 0;
  std::string log;
};

// Runs once, recorded.
Repetition RunRecorded(const Scenario& scenario, Strategy& strategy, const ExploreOptions& options,
                       absl::FunctionRef<void()> at_end) {
  SharedBlock block(sizeof(Shared));
  SharedBlock recorded(kRecordingBytes);
  auto& shared = *reinterpret_cast<Shared*>(block.data());
  const ChildEnd end = RunPart(options, [&] {
    if (options.isolation == Isolation::kChildProcess) KillChildAfter(options.hang_seconds);
    Recorder recorder(recorded.bytes());
    Explorer explorer(scenario, strategy, options, shared);
    explorer.MeasureProduction();
    explorer.SetRecorder(&recorder);
    strategy.BeginRun();
    explorer.RunOnce();
    at_end();
    recorder.OnEnd();
    shared.has_ended = true;
  });
  Repetition repetition{Recorder::Read(recorded.bytes()), shared.trace_hash, end.stderr_text};
  repetition.recording.scenario = scenario.name;
  repetition.recording.failure = FailureOf(end, shared);
  return repetition;
}

Finding Describe(const Scenario& scenario, const ExploreOptions& options, const Failure& failure,
                 absl::Span<const uint16_t> indices, uint64_t at_schedule) {
  Repeat repeat(indices);
  Repetition repetition = RunRecorded(scenario, repeat, options, [] {});
  Finding finding;
  finding.at_schedule = at_schedule;
  finding.failure = failure;
  finding.recording = std::move(repetition.recording);
  finding.schedule = finding.recording.ToSchedule();
  if (finding.recording.failure.signature.starts_with(kBrokenInvariant)) {
    // Looked at after every step, the run ended where the trouble began.
    finding.failure = finding.recording.failure;
    if (failure.signature != finding.failure.signature) {
      finding.failure.text += StrCat("\n(later: ", failure.signature, ": ", failure.text, ")");
    }
  } else if (finding.recording.failure.signature != failure.signature) {
    finding.failure.text += StrCat(
        "\n(repeating its choices ended otherwise: ",
        finding.recording.failure.signature.empty() ? "well" : finding.recording.failure.signature,
        ")");
  }
  if (finding.recording.is_full) {
    finding.failure.text +=
        StrCat("\n(its recording is full after ", finding.recording.choices.size(),
               " choices: the schedule holds what deviates up to there, and need not repeat it)");
  }
  return finding;
}

}  // namespace

ExploreReport Explore(const Scenario& scenario, Strategy& strategy, const ExploreOptions& options) {
  SharedBlock block(sizeof(Shared));
  auto& shared = *reinterpret_cast<Shared*>(block.data());
  const RealClock clock;
  const Nanoseconds start = clock.Now();
  const ChildEnd end =
      RunPart(options, [&] { Explorer(scenario, strategy, options, shared).RunAll(); });
  ExploreReport report;
  report.scenario = scenario.name;
  report.strategy = strategy.name();
  report.schedules = shared.schedules;
  report.steps = shared.steps;
  report.choices = shared.choices;
  report.choices_max = shared.choices_max;
  report.time = clock.Now() - start;
  report.is_complete = shared.is_complete;
  report.proof = shared.progress.Get();
  report.traces = shared.traces;
  report.traces_seen_once = shared.traces_seen_once;
  const auto hits = absl::MakeConstSpan(shared.site_hits);
  report.site_hits.assign(hits.begin(),
                          hits.begin() + std::min(kSitesMax, ExplorationSites().size()));
  report.log = end.stderr_text;
  Failure failure = FailureOf(end, shared);
  const std::string& wanted = options.wanted_signature;
  if (!failure.signature.empty() && !wanted.empty() && failure.signature != wanted) {
    report.finding = Finding{std::move(failure), {}, {}, shared.schedules};
  } else if (!failure.signature.empty()) {
    report.finding =
        Describe(scenario, options, failure,
                 absl::MakeConstSpan(shared.indices).first(shared.choice_count), shared.schedules);
  }
  return report;
}

ReplayReport Replay(const Scenario& scenario, const Schedule& schedule,
                    const ExploreOptions& options) {
  SharedBlock block(sizeof(Follow::StaleText));
  auto& stale = *reinterpret_cast<Follow::StaleText*>(block.data());
  Follow follow(schedule, stale);
  Repetition repetition = RunRecorded(scenario, follow, options, [&] { follow.Finish(); });
  ReplayReport report;
  report.recording = std::move(repetition.recording);
  report.trace_hash = repetition.trace_hash;
  report.log = std::move(repetition.log);
  if (!stale.Get().empty()) report.stale = absl::FailedPreconditionError(stale.Get());
  return report;
}

}  // namespace millrace
