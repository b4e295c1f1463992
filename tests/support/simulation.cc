#include "tests/support/simulation.h"

#include <cstdlib>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/scheduler/clock.h"
#include "tests/support/seeds.h"

namespace millrace {
namespace {

constexpr char kOneSeed[] = "MILLRACE_TEST_SEED";
constexpr uint64_t kSeedsPerSeedWithChecks = 64;
// Of what runs once.
constexpr uint64_t kStepsOfShortRun = 1024;
constexpr uint64_t kStepsPerLookAtLongRun = 61;
// A wait cycle stays, so elsewhere it is enough to look for one now and then.
constexpr uint64_t kStepsPerLook = 1024;

// Whether graphs and jobs are asked for their invariants after every step: production's order, and
// one seed in so many; and whatever is run alone.
bool ChecksEveryStep(uint64_t seed) {
  return seed % kSeedsPerSeedWithChecks <= 1 || std::getenv(kOneSeed) != nullptr;
}

// O10. A party that polls would go on for ever beside those who wait for each other, so there is no
// way on from here.
void CheckThatNobodyWaitsInACycle(const Scheduler& scheduler, uint64_t seed) {
  const std::optional<std::string> cycle = scheduler.FindWaitCycle();
  if (!cycle) return;
  MILLRACE_CHECK(false, StrCat("O10, with ", kOneSeed, "=", seed, ": ", *cycle, "\n",
                               scheduler.DescribeWaits()));
}

// What came of a run.
struct Run {
  uint64_t trace = 0;  // a hash; only with a decider
  uint64_t steps = 0;
  Nanoseconds end = 0;  // when it ended, in simulated time
};

// What the engines of an exploration have in common.
struct Shared {
  StackPool stacks;
  EngineObserver* observer = nullptr;
};

// Runs the scenario to its end.
Run RunScenario(SeededScenario scenario, uint64_t seed, Decider* decider, Shared& shared) {
  std::unique_ptr<Engine> engine = SimulatedEngine(
      Engine::Options{.observer = shared.observer, .decider = decider, .stacks = &shared.stacks});
  bool is_broken = false;
  uint64_t steps = 0;
  const bool checks_every_step = ChecksEveryStep(seed);
  engine->scheduler().SetStepCheck([&] {
    if (checks_every_step || ++steps % kStepsPerLook == 0) {
      CheckThatNobodyWaitsInACycle(engine->scheduler(), seed);
    }
    if (!checks_every_step || is_broken) return;  // said once
    const absl::Status status = engine->scheduler().CheckInvariants();
    EXPECT_TRUE(status.ok()) << status;
    is_broken = !status.ok();
  });
  scenario(*engine, seed);
  EXPECT_EQ(engine->scheduler().live_coroutines(), 0u);
  EXPECT_EQ(shared.stacks.in_use(), 0u);
  const Scheduler& scheduler = engine->scheduler();
  return {scheduler.trace_hash(), scheduler.steps(), scheduler.Now()};
}

void RunSeed(SeededScenario scenario, uint64_t seed, RandomDecider::Faults faults, Shared& shared) {
  SCOPED_TRACE(StrCat("run this seed alone with ", kOneSeed, "=", seed));
  RandomDecider recorded(seed, faults);
  const uint64_t trace = RunScenario(scenario, seed, &recorded, shared).trace;
  RandomDecider again(seed, faults, RandomDecider::Recording::kOff);
  EXPECT_EQ(RunScenario(scenario, seed, &again, shared).trace, trace)
      << "the same seed ran differently";
  ReplayDecider replay(recorded.decisions());
  EXPECT_EQ(RunScenario(scenario, seed, &replay, shared).trace, trace)
      << "the replay ran differently";
  EXPECT_TRUE(replay.Finish().ok()) << replay.Finish();
}

}  // namespace

std::unique_ptr<Engine> SimulatedEngine(Engine::Options options, uint64_t steps_per_look) {
  options.simulated = true;
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(options);
  MILLRACE_CHECK(engine.ok(), "a simulated engine can always be made");
  Scheduler& scheduler = (*engine)->scheduler();
  scheduler.SetChecksEdits(true);
  scheduler.SetStepCheck(
      [&scheduler, steps_per_look, steps = uint64_t{0}, is_broken = false]() mutable {
        const bool is_long = ++steps > kStepsOfShortRun;
        if (is_broken || steps % (is_long ? kStepsPerLookAtLongRun : steps_per_look) != 0) return;
        const absl::Status status = scheduler.CheckInvariants();
        EXPECT_TRUE(status.ok()) << "after step " << steps << ": " << status;
        is_broken = !status.ok();
      });
  return *std::move(engine);
}

std::unique_ptr<Engine> SimulatedEngine(Decider* decider, StackPool* stacks) {
  return SimulatedEngine(Engine::Options{.decider = decider, .stacks = stacks});
}

void Explore(SeededScenario scenario, uint64_t cost, RandomDecider::Faults faults,
             EngineObserver* observer) {
  Shared shared;
  shared.observer = observer;
  if (const char* seed = std::getenv(kOneSeed)) {
    RunSeed(scenario, std::strtoull(seed, nullptr, 10), faults, shared);
    return;
  }
  const Run production = RunScenario(scenario, 0, nullptr, shared);
  // Random data is drawn by the decider, if the scenario draws any; a decider that always answers 0
  // must run exactly like none.
  FifoDecider fifo;
  const Run canonical = RunScenario(scenario, 0, &fifo, shared);
  EXPECT_EQ(canonical.steps, production.steps) << "production's order is not that of FIFO";
  EXPECT_EQ(canonical.end, production.end) << "production's order is not that of FIFO";
  for (uint64_t seed : Seeds(cost)) {
    if (::testing::Test::HasFailure()) return;
    RunSeed(scenario, seed, faults, shared);
  }
}

}  // namespace millrace
