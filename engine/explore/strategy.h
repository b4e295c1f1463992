// Strategy: how an exploration chooses, run after run. One implementation per file:
//
//   random.h         every option equally likely
//   delay_bounded.h  every schedule with at most d delays of production's order: a proof
//   pct.h            PCT and fair PCT: few priority changes, any bug of small depth
//   pos.h            partial order sampling: reorders what touches the same objects
//   exhaustive.h     every order of dependent steps (DPOR): a proof, for micro scenarios
//   guided.h         mutates schedules that met something new
//   fair_end.h       another strategy for a while, then production's order: liveness
//   portfolio.h      a mix of these
//
// An explorer calls BeginRun(), then Pick() for every choice of the run, then EndRun(). Everything
// a strategy does follows from its seed and from what earlier runs showed, so that a campaign can
// be repeated. Pick() is the hot path: it should not allocate once a few runs have been made.
#ifndef MILLRACE_ENGINE_EXPLORE_STRATEGY_H_
#define MILLRACE_ENGINE_EXPLORE_STRATEGY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/types/span.h"
#include "millrace/engine/scheduler/decider.h"

namespace millrace {

// What became of a run.
struct RunSummary {
  uint64_t choices = 0;     // all that were asked
  uint64_t steps = 0;       // of the scheduler
  uint64_t trace_hash = 0;  // equal for equal steps
  uint64_t outcome = 0;     // equal for equal ScenarioRun::Outcome()s
  bool has_failed = false;
};

class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual std::string_view name() const = 0;

  // Prepares the next run. False: there is no schedule left to try.
  virtual bool BeginRun() = 0;
  // An index below options.size(), which is at least 2; 0 is what production does.
  virtual size_t Pick(ChoiceKind kind, absl::Span<const Option> options) = 0;
  virtual void EndRun(const RunSummary& /*summary*/) {}

  // Whether it repeats runs; then it is asked about every choice, explored or not, except where the
  // scenario keeps faults off (ScenarioRun::SetFaults): of that it is told.
  virtual bool repeats() const { return false; }
  // Option 0 is taken.
  virtual void OnFixedChoice(ChoiceKind /*kind*/, absl::Span<const Option> /*options*/) {}

  // Only for strategies that say so, when a run has begun, as it costs a call per step: each step
  // before it is taken, also where there was nothing to choose, and the shared objects it uses.
  virtual bool wants_steps() const { return false; }
  virtual void OnStep(const Option& /*step*/) {}
  virtual void OnTouch(uint64_t /*object*/, StepAccess /*access*/) {}
  // The coroutine that runs touches this in every step from here on, until its scope closes.
  virtual void OnStandingTouch(uint64_t /*object*/) {}
  virtual void OnFootprint(bool /*is_complete*/) {}

  // After BeginRun() returned false: what has been shown, for reports. Else where it is.
  virtual std::string Progress() const { return {}; }
};

// The seed of one run of a random strategy. Runs of different strategies, of different numbers and
// of campaigns with different seeds have nothing in common.
uint64_t SeedOfRun(std::string_view strategy, uint64_t seed, uint64_t run);

// How often random strategies deviate where option 0 means "no fault". 0: never.
struct FaultRates {
  uint32_t outcome_one_in = 0;
  uint32_t crash_one_in = 0;
  uint32_t fault_one_in = 0;
  // Buggify sites have two gates: in each run a site is active or not, and an active one fires on
  // some visits. The rate is that of both gates; 4 means 1 in 4 sites, 1 in 4 visits.
  uint32_t buggify_one_in = 0;
  uint32_t latency_one_in = 0;
};

// What random strategies share: the choices that are no steps, drawn from streams of their own.
class RandomChoices {
 public:
  explicit RandomChoices(FaultRates rates) : rates_(rates) {}
  void BeginRun(uint64_t run_seed);
  // Any kind but kStep.
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options);
  // Whether an option other than 0 is ever taken.
  bool MayDeviate(ChoiceKind kind) const;

 private:
  uint32_t RateOf(ChoiceKind kind) const;
  bool BuggifyFires(const Option& site);

  const FaultRates rates_;
  uint64_t run_seed_ = 0;
  RandomStream wakes_{0};
  RandomStream faults_{0};
  RandomStream data_{0};
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_STRATEGY_H_
