// Liveness (O11): what goes on for ever although everybody gets their turn and nothing fails.
#include "millrace/engine/explore/fair_end.h"

#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/pct.h"
#include "millrace/engine/explore/random.h"
#include "millrace/engine/explore/shrink.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"

namespace millrace::fair_end_test {
namespace {

constexpr std::string_view kNoEnd = "O11 no end";

// Two parties who let each other pass, each as long as it sees the other want to. In production's
// order the first has passed by the time the second comes; where that one comes right behind, they
// go on in step with each other.
Scenario PolitePair() {
  return {"polite pair", [](ScenarioRun& run) {
            bool wants[2] = {false, false};
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("parties");
              const auto pass = [&](int self) MILLRACE_MAY_SUSPEND {
                for (;;) {
                  wants[self] = true;
                  CoYield("polite.look");
                  const bool is_other_there = wants[1 - self];
                  CoYield("polite.decide");
                  if (!is_other_there) break;
                  wants[self] = false;
                  CoYield("polite.again");
                }
                wants[self] = false;
              };
              scope.Spawn("first", [&]() MILLRACE_MAY_SUSPEND { pass(0); });
              scope.Spawn("second", [&]() MILLRACE_MAY_SUSPEND {
                for (int i = 0; i < 3; ++i) CoYield("second.comes");
                pass(1);
              });
              return scope.CoJoin();
            });
          }};
}

// Each of its runs ends: sooner or later one of the two is asked twice in a row.
TEST(FairEnd, ARandomWalkFindsNoLivelock) {
  RandomWalk random(1);
  const ExploreReport report =
      Explore(PolitePair(), random, {.budget = {.schedules = 2000}, .fair_factor = kFairFactor});
  EXPECT_FALSE(report.finding) << report.finding->failure.text;
}

TEST(FairEnd, FindsALivelockThatARandomWalkHasSetUp) {
  FairEnd strategy(std::make_unique<RandomWalk>(1), 1);
  const ExploreOptions options = {.budget = {.schedules = 2000}, .fair_factor = kFairFactor};
  const ExploreReport report = Explore(PolitePair(), strategy, options);
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, kNoEnd);
  const ReplayReport replay = Replay(PolitePair(), report.finding->schedule, options);
  EXPECT_TRUE(replay.stale.ok()) << replay.stale;
  EXPECT_EQ(replay.recording.failure.signature, kNoEnd);
  const Finding shrunk =
      Shrink(PolitePair(), *report.finding, {.fair_factor = kFairFactor}).finding;
  EXPECT_EQ(shrunk.failure.signature, kNoEnd);
  EXPECT_LE(shrunk.schedule.size(), 3u);
}

// So that a proof of few delays is one that all of them end, too.
TEST(FairEnd, ALivelockBehindFewDelaysIsFoundSoonAfterTheLatest) {
  DelayBounded strategy(3);
  const ExploreReport report = Explore(PolitePair(), strategy, {.fair_factor = kFairFactor});
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, kNoEnd);
  // Fifty times a run of some 15 steps, which count as 100.
  EXPECT_LT(report.finding->recording.steps.size(), 5200u);
}

// Starved as long as the adversary has its way, and no longer.
TEST(FairEnd, WhoeverIsStarvedForAWhileIsNoFinding) {
  const Scenario scenario{"spinning", [](ScenarioRun& run) {
                            bool is_set = false;
                            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
                              TaskScope scope("parties");
                              scope.Spawn("spinner", [&]() MILLRACE_MAY_SUSPEND {
                                while (!is_set) CoYield("spin");
                              });
                              scope.Spawn("setter", [&]() MILLRACE_MAY_SUSPEND {
                                CoYield("set");
                                is_set = true;
                              });
                              return scope.CoJoin();
                            });
                          }};
  Pct unfair({.seed = 1});
  EXPECT_TRUE(Explore(scenario, unfair, {.budget = {.schedules = 100}}).finding);
  FairEnd strategy(std::make_unique<Pct>(Pct::Options{.seed = 1}), 1);
  const ExploreReport report =
      Explore(scenario, strategy, {.budget = {.schedules = 100}, .fair_factor = kFairFactor});
  EXPECT_FALSE(report.finding) << report.finding->failure.text;
}

// A fault at the wrong moment, after which somebody asks for ever: when faults have stopped, too.
Scenario AsksForEver(Nanoseconds pause) {
  Scenario scenario{"asks for ever", [pause](ScenarioRun& run) {
                      return run.Drive([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
                        const bool is_lost = run.Choose("the answer", {"comes", "is lost"}) != 0;
                        while (is_lost) MILLRACE_RETURN_IF_ERROR(CoSleepFor(pause));
                        return absl::OkStatus();
                      });
                    }};
  scenario.choices_max = 100;
  return scenario;
}

// A party that is alone makes no choices.
TEST(FairEnd, WhoeverGoesOnAloneIsFoundByItsSteps) {
  RandomWalk random(1);
  for (const uint32_t fair_factor : {0u, kFairFactor}) {
    const ExploreReport report =
        Explore(AsksForEver(kMicrosecond), random, {.fair_factor = fair_factor});
    ASSERT_TRUE(report.finding);
    EXPECT_EQ(report.finding->failure.signature, kNoEnd);
  }
}

TEST(FairEnd, WhoeverSleepsOnIsFoundByItsTime) {
  RandomWalk random(1);
  const ExploreReport report = Explore(AsksForEver(kSecond), random, {.fair_factor = kFairFactor});
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, kNoEnd);
  EXPECT_LT(report.finding->recording.steps.size(), 200u);
}

}  // namespace
}  // namespace millrace::fair_end_test
