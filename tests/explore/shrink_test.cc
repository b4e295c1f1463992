#include "millrace/engine/explore/shrink.h"

#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/base/check.h"
#include "millrace/engine/explore/pct.h"
#include "millrace/engine/explore/random.h"
#include "millrace/engine/explore/regression_test.h"
#include "tests/explore/racing_scenarios.h"

namespace millrace::shrink_test {
namespace {

Finding FindAtRandom(const Scenario& scenario, uint64_t seed = 1) {
  RandomWalk strategy(seed);
  ExploreReport report = Explore(scenario, strategy, {.budget = {.schedules = 100'000}});
  EXPECT_TRUE(report.finding);
  return report.finding ? *report.finding : Finding();
}

TEST(Shrink, LeavesOnlyTheDeviationsThatMatter) {
  const Scenario scenario = RareWindow(8);
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const ShrinkReport report = Shrink(scenario, FindAtRandom(scenario, seed));
    EXPECT_EQ(report.finding.failure.signature, "window seen");
    EXPECT_LE(report.finding.schedule.size(), 9u);
    EXPECT_LE(report.replays, 20'000u);
    const ReplayReport replay = Replay(scenario, report.finding.schedule);
    EXPECT_TRUE(replay.stale.ok()) << replay.stale;
    EXPECT_EQ(replay.recording.failure.signature, "window seen");
  }
}

// Every second run takes a step more, whatever the schedule.
TEST(Shrink, WhatIsNotDeterministicIsShrunkByRunningItTwice) {
  int calls = 0;
  const Scenario scenario{"impure", [&](ScenarioRun& run) {
                            const int yields = 8 + ++calls % 2;
                            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
                              TaskScope scope("parties");
                              for (const char* name : {"x", "y"}) {
                                scope.Spawn(name, [yields]() MILLRACE_MAY_SUSPEND {
                                  for (int i = 0; i < yields; ++i) CoYield("impure.step");
                                });
                              }
                              return scope.CoJoin();
                            });
                          }};
  RandomWalk strategy(1);
  const ExploreReport found = Explore(scenario, strategy, {.run_twice_one_in = 1});
  ASSERT_TRUE(found.finding);
  ASSERT_GT(found.finding->schedule.size(), 0u);
  const ShrinkReport report = Shrink(scenario, *found.finding);
  EXPECT_EQ(report.finding.failure.signature, kNotDeterministic);
  EXPECT_EQ(report.finding.schedule.size(), 0u) << report.finding.schedule.ToText();
}

// The looker has to wait for forty steps of the other: forty deviations from production's order, or
// one that lasts.
TEST(Shrink, WhoeverStarvesIsHeldBackOnce) {
  const Scenario scenario = RareWindow(40);
  Pct strategy({.seed = 1});
  const ExploreReport found = Explore(scenario, strategy, {.budget = {.schedules = 200'000}});
  ASSERT_TRUE(found.finding);
  ASSERT_GT(found.finding->schedule.size(), 30u);
  const ShrinkReport report = Shrink(scenario, *found.finding);
  EXPECT_EQ(report.finding.failure.signature, "window seen");
  EXPECT_LE(report.finding.schedule.size(), 2u) << report.finding.schedule.ToText();
  EXPECT_EQ(report.finding.schedule.holds.size(), 1u);
  const absl::StatusOr<Schedule> again = Schedule::FromText(report.finding.schedule.ToText());
  const ReplayReport replay = Replay(scenario, *again);
  EXPECT_TRUE(replay.stale.ok()) << replay.stale;
  EXPECT_EQ(replay.recording.failure.signature, "window seen");
}

// Goes wrong if none of three has come before the fourth has taken its steps.
TEST(Shrink, ThreeThatStarveTogetherAreHeldBackOnceEach) {
  const Scenario scenario{"nobody comes", [](ScenarioRun& run) {
                            int came = 0;
                            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
                              TaskScope scope("parties");
                              for (const char* name : {"x", "y", "z"}) {
                                scope.Spawn(name, [&]() MILLRACE_MAY_SUSPEND {
                                  CoYield("comer.come");
                                  ++came;
                                });
                              }
                              scope.Spawn("host", [&]() MILLRACE_MAY_SUSPEND {
                                for (int i = 0; i < 15; ++i) CoYield("host.wait");
                                if (came == 0) run.Fail("nobody came", "all three are late");
                              });
                              return scope.CoJoin();
                            });
                          }};
  Pct strategy({.seed = 1});
  const ExploreReport found = Explore(scenario, strategy, {.budget = {.schedules = 10'000}});
  ASSERT_TRUE(found.finding);
  const ShrinkReport report = Shrink(scenario, *found.finding);
  EXPECT_EQ(report.finding.failure.signature, "nobody came");
  EXPECT_EQ(report.finding.schedule.holds.size(), 3u) << report.finding.schedule.ToText();
  EXPECT_LE(report.finding.schedule.size(), 4u) << report.finding.schedule.ToText();
}

// Goes wrong if exactly seven of twelve requests have ended when the power fails. Requests end when
// nobody can run, so in production's order none has. (Two choices each: four are as many as a hold
// of eight choices lets end, and that is tried for everybody.)
TEST(Shrink, WhoeverComesTooSoonIsHeldBackForJustSoLong) {
  const Scenario scenario{"power cut", [](ScenarioRun& run) {
                            int ended = 0;
                            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
                              TaskScope scope("parties");
                              scope.Spawn("writer", [&]() MILLRACE_MAY_SUSPEND {
                                for (int i = 0; i < 12; ++i) {
                                  (void)run.engine().io().CoOpen("none", {});
                                  ++ended;
                                }
                              });
                              scope.Spawn("power", [&]() MILLRACE_MAY_SUSPEND {
                                for (int i = 0; i < 20; ++i) CoYield("power.wait");
                                if (ended == 7) run.Fail("seven of twelve", "");
                              });
                              return scope.CoJoin();
                            });
                          }};
  const ShrinkReport report = Shrink(scenario, FindAtRandom(scenario));
  EXPECT_EQ(report.finding.failure.signature, "seven of twelve");
  EXPECT_EQ(report.finding.schedule.size(), 1u) << report.finding.schedule.ToText();
}

// Without the detour the value is asked for twenty choices sooner.
Scenario LateValue() {
  return {"late value", [](ScenarioRun& run) {
            if (run.Choose("way", {"straight", "detour"}) == 1) {
              for (int i = 0; i < 20; ++i) run.Choose("step", {"left", "right"});
            }
            if (run.Choose("piece", {"kept", "lost"}) == 1) run.Fail("lost", "");
            return absl::OkStatus();
          }};
}

Finding FindingOf(const Scenario& scenario, std::string_view schedule) {
  Finding finding;
  finding.schedule = *Schedule::FromText(schedule);
  finding.recording = Replay(scenario, finding.schedule).recording;
  finding.failure = finding.recording.failure;
  EXPECT_NE(finding.failure.signature, "");
  return finding;
}

TEST(Shrink, AValueIsTakenWhereverItIsAskedFor) {
  const Finding finding = FindingOf(LateValue(), "d0:way@detour,d21:piece@lost");
  EXPECT_EQ(Shrink(LateValue(), finding).finding.schedule.ToText(), "d1:piece@lost");
}

TEST(Shrink, ProductionsOrderIsTriedFirstAndOneDeviationIsShortEnough) {
  // Nothing and the values alone, near and anywhere.
  EXPECT_EQ(Shrink(LateValue(), FindingOf(LateValue(), "d1:piece@lost")).replays, 4u);
  const Scenario always{"always", [](ScenarioRun& run) {
                          for (int i = 0; i < 20; ++i) run.Choose("step", {"left", "right"});
                          run.Fail("always", "");
                          return absl::OkStatus();
                        }};
  const ShrinkReport report = Shrink(always, FindingOf(always, "d3:step@right,d9:step@right"));
  EXPECT_EQ(report.finding.schedule, Schedule());
  EXPECT_EQ(report.replays, 1u);
  EXPECT_EQ(Shrink(always, FindingOf(always, "-")).replays, 0u);
}

TEST(Shrink, StepsDecideHowFarItGoesAndNotTheClock) {
  const Finding finding = FindAtRandom(RareWindow(8));
  EXPECT_EQ(Shrink(RareWindow(8), finding, {.steps_max = 0}).replays, 0u);
  uint64_t with_fewer = 0;
  for (const uint64_t steps_max : {10'000u, 100'000u}) {
    const ShrinkReport once = Shrink(RareWindow(8), finding, {.steps_max = steps_max});
    const ShrinkReport again = Shrink(RareWindow(8), finding, {.steps_max = steps_max});
    EXPECT_GT(once.replays, with_fewer);
    EXPECT_LT(once.replays, steps_max / 10);
    with_fewer = once.replays;
    EXPECT_EQ(once.replays, again.replays);
    EXPECT_EQ(once.finding.schedule, again.finding.schedule);
  }
}

TEST(Shrink, AFailureOfProductionsOwnOrderNeedsNoDeviation) {
  const ShrinkReport report = Shrink(LostUpdate(), FindAtRandom(LostUpdate()));
  EXPECT_EQ(report.finding.schedule, Schedule());
}

TEST(Shrink, WorksOnWhatEndsTheProcess) {
  const Scenario scenario = OppositeLocks();
  const ShrinkReport report = Shrink(scenario, FindAtRandom(scenario, 3));
  EXPECT_EQ(report.finding.failure.signature, "O10 deadlock");
  EXPECT_LE(report.finding.schedule.size(), 2u);
}

// Two bugs: the one that is looked for needs `a` late, the other shows up when `b` is late.
TEST(Shrink, DoesNotTakeOneBugForAnother) {
  const Scenario scenario{"two bugs", [](ScenarioRun& run) {
                            std::string order;
                            const absl::Status status = run.Drive([&]() MILLRACE_MAY_SUSPEND {
                              TaskScope scope("parties");
                              for (const char* name : {"a", "b", "c"}) {
                                scope.Spawn(name, [&order, name]() MILLRACE_MAY_SUSPEND {
                                  CoYield("party.work");
                                  order += name;
                                });
                              }
                              return scope.CoJoin();
                            });
                            if (order == "cba") run.Fail("backwards", order);
                            if (order == "bca" || order == "acb" || order == "bac") {
                              run.Fail("other", order);
                            }
                            return status;
                          }};
  RandomWalk strategy(1);
  Finding finding;
  // Search on until the one that is wanted comes up.
  for (uint64_t seed = 1; finding.failure.signature != "backwards"; ++seed) {
    finding = FindAtRandom(scenario, seed);
  }
  const ShrinkReport report = Shrink(scenario, finding);
  EXPECT_EQ(report.finding.failure.signature, "backwards");
  EXPECT_EQ(Replay(scenario, report.finding.schedule).recording.failure.text, "cba");
}

TEST(Shrink, SparesFaultsThatMatter) {
  Scenario scenario{"fault", [](ScenarioRun& run) {
                      const std::string_view outcomes[] = {"good", "bad"};
                      int bad = 0;
                      for (int i = 0; i < 10; ++i)
                        bad += static_cast<int>(run.Choose("io", outcomes));
                      if (bad >= 2) run.Fail("two bad", StrCat(bad));
                      return absl::OkStatus();
                    }};
  const ShrinkReport report = Shrink(scenario, FindAtRandom(scenario));
  EXPECT_EQ(report.finding.schedule.size(), 2u);
}

// A worker without a stack is a failure. Only for the first of them are faults explored; and how
// late its turn comes is a choice.
Scenario FaultsInTheFirstPartOnly() {
  return {"faults in the first part",
          [](ScenarioRun& run) {
            run.SetFaults(false);
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              if (run.Choose("way", {"straight", "detour"}) == 1) {
                run.Choose("detour", {"left", "right"});
                run.Choose("detour", {"left", "right"});
              }
              for (const char* part : {"first", "second", "third"}) {
                run.SetFaults(std::string_view(part) == "first");
                TaskScope scope("part");
                scope.Spawn("worker", []() MILLRACE_MAY_SUSPEND {});
                if (!scope.CoJoin().ok()) run.Fail("no worker", part);
              }
            });
          },
          ChoiceKinds::Schedule().With(ChoiceKind::kFault)};
}

TEST(Shrink, PutsNoFaultsWhereTheScenarioKeepsThemOff) {
  // Without the detour, the fault finds its option two choices late.
  Finding finding;
  finding.schedule = *Schedule::FromText("d1:way@detour,f4:worker@no%20stack");
  ReplayReport replay = Replay(FaultsInTheFirstPartOnly(), finding.schedule);
  ASSERT_TRUE(replay.stale.ok()) << replay.stale;
  ASSERT_EQ(replay.recording.failure.text, "first");
  finding.recording = std::move(replay.recording);
  finding.failure = finding.recording.failure;
  const Finding shrunk = Shrink(FaultsInTheFirstPartOnly(), finding).finding;
  EXPECT_EQ(shrunk.recording.failure.text, "first");
  const ReplayReport again = Replay(FaultsInTheFirstPartOnly(), shrunk.schedule);
  EXPECT_TRUE(again.stale.ok()) << again.stale;
  EXPECT_EQ(again.recording.failure.text, "first");
}

TEST(RegressionTest, IsReadyToPaste) {
  Finding finding;
  finding.failure = {"O10 deadlock", "no coroutine can run:\n  a waits"};
  finding.schedule = *Schedule::FromText("s12:stream0@drain.begin,s14:img-3@memory");
  EXPECT_EQ(ReplayLine("race_gallery", "stream meets commit", finding),
            "replay: race_gallery --scenario='stream meets commit' "
            "--schedule=s12:stream0@drain.begin,s14:img-3@memory  # O10 deadlock");
  EXPECT_EQ(RegressionTest("StreamMeetsCommit", "StreamMeetsCommit()", finding),
            R"(// no coroutine can run:
TEST(StreamMeetsCommit, O10DeadlockDoesNotComeBack) {
  const absl::StatusOr<millrace::Schedule> schedule = millrace::Schedule::FromText(
      "s12:stream0@drain.begin,s14:img-3@memory");
  ASSERT_TRUE(schedule.ok()) << schedule.status();
  const millrace::ReplayReport report = millrace::Replay(StreamMeetsCommit(), *schedule);
  EXPECT_FALSE(report.has_failed()) << report.recording.failure.text;
  EXPECT_TRUE(report.stale.ok()) << report.stale;
}
)");
}

// A backslash there would make the next line, the test's first, part of the comment.
TEST(RegressionTest, ACommentEndsWithItsLine) {
  Finding finding;
  finding.failure = {"lost", "the path is C:\\ \nand so on"};
  const std::string test = RegressionTest("Suite", "Scenario()", finding);
  EXPECT_EQ(test.substr(0, test.find('\n')), "// the path is C:");
  finding.failure.text = std::string(200, '\\');
  EXPECT_EQ(RegressionTest("Suite", "Scenario()", finding).substr(0, 4), "// \n");
}

}  // namespace
}  // namespace millrace::shrink_test
