// Scenario: a small story that an exploration runs again and again, each time under another
// schedule, and that can tell whether it went well.
//
//   Scenario scenario{"two writers", [](ScenarioRun& run) {
//     int shared = 0;
//     return run.Drive([&]() MILLRACE_MAY_SUSPEND -> absl::Status { ...; return CheckIt(shared);
//     });
//   }};
//
// The body makes everything anew in each run and leaves nothing behind; whatever it does may depend
// on the decider's choices only: no clock, no random numbers of its own, no addresses, no state
// kept from run to run. What it wants to vary it asks run.Choose() for. An error that it returns, a
// failure it reports, a deadlock, a check that fails and a crash of the process are all findings.
//
// What the engine's graphs and jobs say of their own invariants (engine/scheduler/
// invariant_checker.h) is asked after every step of one schedule in 64, and of every replay: what
// does not hold is a finding, "INTERNAL G7". In all schedules, what an edit touches is looked at.
//
// Keep it small: few parties, few sectors, at most some 150 choice points, so that bounds can be
// proven for it.
#ifndef MILLRACE_ENGINE_EXPLORE_SCENARIO_H_
#define MILLRACE_ENGINE_EXPLORE_SCENARIO_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/decider.h"

namespace millrace {

class StackPool;

// What went wrong.
struct Failure {
  // Equal for the same bug, whatever the schedule: the oracle and what it judges, no numbers that
  // differ from run to run. "I2 lost write"
  std::string signature;
  std::string text;  // for people; may be long
};

// Which kinds of choices an exploration varies; the others are answered as production would.
class ChoiceKinds {
 public:
  constexpr ChoiceKinds() = default;
  constexpr ChoiceKinds(std::initializer_list<ChoiceKind> kinds) {
    for (ChoiceKind kind : kinds) bits_ |= Bit(kind);
  }
  // Orders only: steps, wakes and the scenario's own data; no faults.
  static constexpr ChoiceKinds Schedule() {
    return ChoiceKinds({ChoiceKind::kStep, ChoiceKind::kWake, ChoiceKind::kData});
  }
  static constexpr ChoiceKinds All() {
    return Schedule()
        .With(ChoiceKind::kOutcome)
        .With(ChoiceKind::kFault)
        .With(ChoiceKind::kCrash)
        .With(ChoiceKind::kBuggify)
        .With(ChoiceKind::kLatency);
  }
  constexpr ChoiceKinds With(ChoiceKind kind) const {
    ChoiceKinds more = *this;
    more.bits_ |= Bit(kind);
    return more;
  }
  constexpr bool Has(ChoiceKind kind) const { return (bits_ & Bit(kind)) != 0; }

 private:
  static constexpr uint32_t Bit(ChoiceKind kind) { return uint32_t{1} << static_cast<int>(kind); }
  uint32_t bits_ = 0;
};

// One run of a scenario. Made by the explorer; lives as long as the body runs, and the engines it
// hands out a little longer.
class ScenarioRun {
 public:
  ScenarioRun(Decider& decider, StackPool& stacks) : decider_(decider), stacks_(stacks) {}
  ~ScenarioRun();
  ScenarioRun(const ScenarioRun&) = delete;
  ScenarioRun& operator=(const ScenarioRun&) = delete;

  // The simulated engine of this run, made on first use.
  Engine& engine() { return engines_.empty() ? NewEngine() : *engines_.front(); }
  // One more, on what another left on `disk`; also the first, if it wants a disk or an observer.
  // Engines die with the run, after everything the body made.
  Engine& NewEngine(SimulatedDisk* disk = nullptr, EngineObserver* observer = nullptr);

  // Called with every engine that is made from here on, before anything happens on it: how a
  // scenario that goes through another's body sets up its world.
  void SetEngineSetup(std::function<void(Engine& engine)> setup) { setup_ = std::move(setup); }

  // Runs `main` as a coroutine of engine(), and everything it starts, to the end. A deadlock is a
  // finding ("O10 deadlock"), after which the run is abandoned.
  template <typename Main>
  absl::Status Drive(Main&& main) {
    return DriveOn(engine(), std::forward<Main>(main));
  }
  template <typename Main>
  absl::Status DriveOn(Engine& engine, Main&& main) {
    TaskScope scope(engine.scheduler(), "run");
    scope.Spawn("main", std::forward<Main>(main));
    if (!engine.RunUntil([&] { return scope.live() == 0; })) AbandonInDeadlock(engine);
    return scope.Finish();
  }

  // A choice of the scenario's own: the index of one of `options`, which are literals.
  size_t Choose(std::string_view what, absl::Span<const std::string_view> options);

  // Whether outcomes, crashes, failed allocations and odd branches are explored. A scenario that
  // explores them lets them be off while it builds its world, and at its end, when it looks at what
  // is left; then they are answered as production would.
  void SetFaults(bool are_on) { has_faults_ = are_on; }

  // Something went wrong; the first report counts. The run goes on, so that it can unwind.
  void Fail(std::string signature, std::string text);
  bool has_failed() const { return !failure_.signature.empty(); }
  const Failure& failure() const { return failure_; }
  // The same where unwinding is not possible (suspended coroutines cannot be taken down): ends the
  // exploration's child process here. Where the exploration has none it is a failed check.
  [[noreturn]] void Abandon(std::string signature, std::string text);

  // What came of the run, in words: two runs that say the same, in the same order, have behaved
  // alike as far as the scenario can see. For comparing what strategies get to see.
  void Outcome(std::string_view text);

  // Failures for which this says true are no findings: what a fault that was planted leads to, as
  // long as the error is a clean one. What such a run leaves behind is a finding all the same, and
  // so is what it cannot unwind from (Abandon(): deadlocks, runs without end, broken invariants).
  using Tolerance = std::function<bool(const Failure& failure)>;
  void SetTolerance(Tolerance tolerance) { tolerance_ = std::move(tolerance); }
  bool is_tolerant() const { return tolerance_ != nullptr; }

  // A remark for the recording: kind "oracle", object "sector 3", any text.
  void Note(std::string_view kind, std::string_view object, std::string_view text);

  // ---- For the explorer -------------------------------------------------------------------------
  // O11: a run that goes beyond them is a finding, "O11 no end". Steps are those of all engines.
  struct Limits {
    uint64_t steps = UINT64_MAX;
    // In production's order alone: since the latest of the decider's `deviations` from it.
    uint64_t fair_steps = UINT64_MAX;
    Nanoseconds fair_time = kNever;  // of an engine's own clock
    const uint64_t* deviations = nullptr;
  };
  // Before the body begins.
  void SetLimits(const Limits& limits) { limits_ = limits; }
  // How often invariants are looked at: after each edit, after every step. Before the body begins.
  void SetInvariantChecks(bool after_edits, bool after_every_step) {
    checks_edits_ = after_edits;
    checks_every_step_ = after_every_step;
  }
  using Abandoner = void (*)(void* context, const Failure& failure);
  void SetAbandoner(Abandoner abandoner, void* context) {
    abandoner_ = abandoner;
    abandoner_context_ = context;
  }
  const bool* has_faults() const { return &has_faults_; }
  // Takes what the body returned into account and looks for what it left behind.
  void Finish(const absl::Status& status);
  uint64_t steps() const;
  Nanoseconds time() const;  // of the engine that has come farthest
  uint64_t trace_hash() const;
  uint64_t outcome() const { return outcome_; }

 private:
  void Report(Failure failure, bool is_tolerated);
  [[noreturn]] void AbandonInDeadlock(Engine& engine);
  void CheckInvariants(Engine& engine);
  // Since when an engine has gone in production's order.
  struct FairSince {
    uint64_t deviations = 0;
    uint64_t steps = 0;
    Nanoseconds time = 0;
  };
  void LookForAnEnd(Engine& engine, FairSince& since);
  [[noreturn]] void AbandonWithoutEnd(Engine& engine, std::string text);

  Decider& decider_;
  StackPool& stacks_;
  std::vector<std::unique_ptr<Engine>> engines_;
  Failure failure_;
  Tolerance tolerance_;
  std::function<void(Engine& engine)> setup_;
  Limits limits_;
  uint64_t steps_ = 0;
  uint64_t outcome_ = 0;
  bool has_faults_ = true;
  bool checks_edits_ = false;
  bool checks_every_step_ = false;
  Abandoner abandoner_ = nullptr;
  void* abandoner_context_ = nullptr;
};

struct Scenario {
  std::string name;
  // OK if all went well. The signature of an error is its code and its text up to the first colon
  // (so: "I2: sector 3 holds ..."); digits in it count as equal.
  std::function<absl::Status(ScenarioRun&)> body;
  ChoiceKinds explored = ChoiceKinds::Schedule();
  // A run that makes more choices, or fifty times as many steps, is a finding ("O11 no end").
  uint64_t choices_max = 20'000;
  // Off: what is broken inside matters only where an oracle of the scenario's own sees it.
  bool checks_invariants = true;
};

// The signature of an error; see Scenario::body.
std::string SignatureOf(const absl::Status& status);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_SCENARIO_H_
