// Explore: runs a scenario under one schedule after the other, as a strategy proposes, until
// something goes wrong, everything is shown, or the budget is spent.
//
//   DelayBounded strategy(2);
//   ExploreReport report = Explore(scenario, strategy, {.budget = {.schedules = 100'000}});
//   if (report.finding) { ... report.finding->schedule.ToText() ... }
//
// The runs happen in a child process (fork), so that a failed check, a crash or a deadlock is a
// finding like any other: the child's choices lie in memory shared with the parent, which repeats
// the run to record it. Nothing of what a body does to the process's memory is seen by the caller;
// what the child writes to stderr comes back as text. Isolation::kNone runs everything in this
// process instead, for debuggers; then a failed check ends it. The caller should have no other
// thread that holds locks the body needs, as always with fork.
//
// Liveness (O11): with a `fair_factor` a run must come to its end soon after the strategy's latest
// deviation, since production's order is fair and plants no faults: within so many times the steps,
// and the virtual time, that production's own run takes. Most strategies never stop to deviate:
// fair_end.h makes them.
//
// Host code; not in a coroutine.
#ifndef MILLRACE_ENGINE_EXPLORE_EXPLORER_H_
#define MILLRACE_ENGINE_EXPLORE_EXPLORER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/engine/explore/recording.h"
#include "millrace/engine/explore/scenario.h"
#include "millrace/engine/explore/schedule.h"
#include "millrace/engine/explore/strategy.h"
#include "millrace/engine/scheduler/clock.h"

namespace millrace {

enum class Isolation : uint8_t { kChildProcess, kNone };

// The signature of a finding of ExploreOptions::run_twice_one_in. Whoever repeats its schedule once
// need not see anything.
inline constexpr std::string_view kNotDeterministic = "not deterministic";

// A good ExploreOptions::fair_factor.
inline constexpr uint32_t kFairFactor = 50;

struct ExploreOptions {
  struct Budget {
    uint64_t schedules = 10'000;
    uint64_t steps = UINT64_MAX;
    Nanoseconds time = kNever;  // of the host's clock, looked at between runs
  };
  Budget budget{};
  Isolation isolation = Isolation::kChildProcess;
  // Counts how many different traces there were: an estimate of what is left to see. Costs a table.
  bool counts_traces = false;
  // Every n-th run is made twice, and has to take the same steps both times; 0: none.
  uint64_t run_twice_one_in = 0;
  // See "Liveness" above; 0: only Scenario::choices_max ends a run.
  uint32_t fair_factor = 0;
  // If not empty, a finding of another signature is told without its schedule and recording, which
  // take a run more: for searches that want one failure only.
  std::string wanted_signature{};
  // A run that says nothing for so long, in processor time (or twenty times as long by the clock),
  // is a finding: "killed by signal ...".
  uint32_t hang_seconds = 60;
};

struct Finding {
  Failure failure;
  Schedule schedule;         // repeats it; unless recording.is_full, which failure.text tells
  Recording recording;       // of the repetition
  uint64_t at_schedule = 0;  // it was found in the so-many-th, from 1
};

struct ExploreReport {
  std::string scenario;
  std::string strategy;
  uint64_t schedules = 0;
  uint64_t steps = 0;
  uint64_t choices = 0;
  uint64_t choices_max = 0;  // of one run
  Nanoseconds time = 0;      // of the host's clock
  bool is_complete = false;  // the strategy has nothing left: see proof
  std::string proof;  // what the strategy says of its progress: "delay bound 2 complete: ..."
  // With counts_traces: different traces, and how many of them were seen once. The chance that the
  // next run shows a new one is about traces_seen_once / schedules (Good-Turing).
  uint64_t traces = 0;
  uint64_t traces_seen_once = 0;
  // How often the runs came by each of ExplorationSites(), in their order.
  std::vector<uint64_t> site_hits;
  std::optional<Finding> finding;
  std::string log;  // what the runs wrote to stderr, its end
};

ExploreReport Explore(const Scenario& scenario, Strategy& strategy,
                      const ExploreOptions& options = {});

struct ReplayReport {
  // FailedPrecondition: the schedule does not fit the scenario any more. From where it is said not
  // to fit, the run took production's order. Of a run that did not come to its end (a deadlock, a
  // crash) it is not known whether it would have come to what it left out.
  absl::Status stale;
  Recording recording;
  uint64_t trace_hash = 0;
  std::string log;
  bool has_failed() const { return !recording.failure.signature.empty(); }
};

// Runs the scenario once as the schedule says, and records it.
ReplayReport Replay(const Scenario& scenario, const Schedule& schedule,
                    const ExploreOptions& options = {});

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_EXPLORER_H_
