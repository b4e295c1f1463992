#include "millrace/engine/explore/explorer.h"

#include <cstdlib>
#include <ctime>
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/base/check.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/random.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scheduler/invariant_checker.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/explore/racing_scenarios.h"

namespace millrace::explorer_test {
namespace {

ExploreReport ExploreAtRandom(const Scenario& scenario, ExploreOptions options = {}) {
  RandomWalk strategy(1);
  return Explore(scenario, strategy, options);
}

TEST(Explore, FindsALostUpdateAndItsScheduleRepeatsIt) {
  const Scenario scenario = LostUpdate();
  const ExploreReport report = ExploreAtRandom(scenario);
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, "lost update");
  EXPECT_EQ(report.finding->failure.text, "the counter is 1");
  EXPECT_EQ(report.finding->at_schedule, report.schedules);
  const ReplayReport replay = Replay(scenario, report.finding->schedule);
  EXPECT_TRUE(replay.stale.ok()) << replay.stale;
  EXPECT_EQ(replay.recording.failure.signature, "lost update");
}

TEST(Explore, FindsNothingWhereNothingIs) {
  const ExploreReport report = ExploreAtRandom(Quiet(3, 3), {.budget = {.schedules = 500}});
  EXPECT_FALSE(report.finding) << report.finding->failure.text;
  EXPECT_EQ(report.schedules, 500u);
  EXPECT_FALSE(report.is_complete);
}

TEST(Explore, TheSameSeedFindsTheSameSchedule) {
  const Scenario scenario = RareWindow(10);
  const ExploreReport once = ExploreAtRandom(scenario);
  const ExploreReport again = ExploreAtRandom(scenario);
  ASSERT_TRUE(once.finding && again.finding);
  EXPECT_EQ(once.finding->at_schedule, again.finding->at_schedule);
  EXPECT_EQ(once.finding->schedule, again.finding->schedule);
}

TEST(Explore, StopsWhenItsBudgetOfStepsIsSpent) {
  const ExploreReport report = ExploreAtRandom(Quiet(2, 5), {.budget = {.steps = 1000}});
  EXPECT_GE(report.steps, 1000u);
  EXPECT_LT(report.steps, 1100u);
}

// ---- What counts as a finding ------------------------------------------------------------------

TEST(Explore, ADeadlockIsAFindingThatNamesWhoWaits) {
  const ExploreReport report = ExploreAtRandom(OppositeLocks());
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, "O10 deadlock");
  EXPECT_NE(report.finding->failure.text.find("mutex 'first'"), std::string::npos)
      << report.finding->failure.text;
  const ReplayReport replay = Replay(OppositeLocks(), report.finding->schedule);
  EXPECT_EQ(replay.recording.failure.signature, "O10 deadlock");
  EXPECT_TRUE(replay.recording.is_cut_off);
}

// Somebody who looks again and again keeps the engine from ever coming to a halt; after so many
// looks he gives up.
Scenario OppositeLocksBesideAPoller(int looks_max) {
  return {"opposite locks beside a poller", [looks_max](ScenarioRun& run) {
            Mutex first("first");
            Mutex second("second");
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("lockers");
              int done = 0;
              auto lock_both = [&done](Mutex& outer, Mutex& inner) MILLRACE_MAY_SUSPEND {
                MutexLock one(CoHold(outer));
                CoYield("locker.between");
                MutexLock two(CoHold(inner));
                ++done;
              };
              scope.Spawn("a", [&]() MILLRACE_MAY_SUSPEND { lock_both(first, second); });
              scope.Spawn("b", [&]() MILLRACE_MAY_SUSPEND { lock_both(second, first); });
              int looks = 0;
              while (done < 2) {
                if (looks++ == looks_max) run.Abandon("gave up", "the two do not end");
                CoSleepFor(1'000'000).IgnoreError();
              }
              return scope.CoJoin();
            });
          }};
}

TEST(Explore, TwoWhoWaitForEachOtherAreADeadlockEvenBesideAPoller) {
  const Scenario scenario = OppositeLocksBesideAPoller(3);
  const ExploreReport report = ExploreAtRandom(scenario);
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, "O10 deadlock");
  EXPECT_NE(report.finding->failure.text.find("wait cycle: 'a' -> 'b' -> 'a'"), std::string::npos)
      << report.finding->failure.text;
  const ReplayReport replay = Replay(scenario, report.finding->schedule);
  EXPECT_EQ(replay.recording.failure.signature, "O10 deadlock");
  EXPECT_TRUE(replay.recording.is_cut_off);
}

// Whatever may go wrong is tolerated.
Scenario TolerantOfAll(std::function<absl::Status(ScenarioRun&)> body) {
  return {"tolerant", [body = std::move(body)](ScenarioRun& run) {
            run.SetTolerance([](const Failure&) { return true; });
            return body(run);
          }};
}

TEST(Explore, ATolerantScenarioHasFindingsAllTheSameWhereThereIsNoWayOn) {
  EXPECT_FALSE(ExploreAtRandom(TolerantOfAll([](ScenarioRun& run) {
                 run.Fail("I2 sector", "lost");
                 return absl::InternalError("unclean");
               })).finding);
  const ExploreReport deadlock = ExploreAtRandom(TolerantOfAll(OppositeLocks().body));
  ASSERT_TRUE(deadlock.finding);
  EXPECT_EQ(deadlock.finding->failure.signature, "O10 deadlock");
  EXPECT_EQ(deadlock.finding->recording.failure.signature, "O10 deadlock");
  const ExploreReport after_an_error = ExploreAtRandom(TolerantOfAll([](ScenarioRun& run) {
    run.Fail("I2 sector", "tolerated, and it is not what the run ends with");
    return OppositeLocks().body(run);
  }));
  ASSERT_TRUE(after_an_error.finding);
  EXPECT_EQ(after_an_error.finding->failure.signature, "O10 deadlock");
}

TEST(Explore, ATolerantScenarioMayLeaveNothingBehind) {
  const ExploreReport report = ExploreAtRandom(TolerantOfAll([](ScenarioRun& run) {
    TaskScope* const left = new TaskScope(run.engine().scheduler(), "left");
    left->Spawn("left", []() MILLRACE_MAY_SUSPEND { CoYield("left"); });
    return absl::OkStatus();
  }));
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, "O12 coroutines left");
}

TEST(Explore, AFileThatIsLeftOpenIsAFinding) {
  const Scenario scenario{
      "left open", [](ScenarioRun& run) {
        Engine& engine = run.engine();
        return run.Drive([&]() MILLRACE_MAY_SUSPEND {
          return engine.simulated_io()->CoOpen("file", {.writable = true, .create = true}).status();
        });
      }};
  const ExploreReport report = ExploreAtRandom(scenario);
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, "O12 files left");
}

TEST(Explore, AProcessThatIsEndedInARunIsAFinding) {
  const Scenario scenario{"leaves", [](ScenarioRun&) -> absl::Status { std::_Exit(0); }};
  const ExploreReport report = ExploreAtRandom(scenario);
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, "ended early");
  EXPECT_EQ(report.schedules, 1u);
  EXPECT_EQ(Replay(scenario, Schedule()).recording.failure.signature, "ended early");
}

TEST(Explore, AFailedCheckIsAFindingNamedByItsFileAndCondition) {
  const Scenario scenario{"check", [](ScenarioRun& run) {
                            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
                              MILLRACE_CHECK(1 + 1 == 3, "G0: arithmetic");
                            });
                          }};
  const ExploreReport report = ExploreAtRandom(scenario);
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, "check explorer_test.cc: 1 + 1 == 3");
  EXPECT_NE(report.finding->failure.text.find("G0: arithmetic"), std::string::npos);
  EXPECT_EQ(report.schedules, 1u);
}

TEST(Explore, ACrashIsAFindingNamedByItsSignal) {
  const Scenario scenario{"crash", [](ScenarioRun&) -> absl::Status { std::abort(); }};
  const ExploreReport report = ExploreAtRandom(scenario);
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, "killed by signal 6 (Aborted)");
}

TEST(Explore, ARunWithoutEndIsAFinding) {
  Scenario scenario{"endless", [](ScenarioRun& run) {
                      return run.Drive([&]() MILLRACE_MAY_SUSPEND {
                        TaskScope scope("runners");
                        for (const char* name : {"a", "b"}) {
                          scope.Spawn(name, []() MILLRACE_MAY_SUSPEND {
                            for (;;) CoYield("run.on");
                          });
                        }
                        return scope.CoJoin();
                      });
                    }};
  scenario.choices_max = 1000;
  const ExploreReport report = ExploreAtRandom(scenario);
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, "O11 no end");
}

TEST(Explore, AStepWithoutEndIsAFinding) {
  const Scenario scenario{"hang", [](ScenarioRun&) -> absl::Status {
                            for (volatile bool is_on = true; is_on;) {
                            }
                            return absl::OkStatus();
                          }};
  const ExploreReport report = ExploreAtRandom(scenario, {.hang_seconds = 1});
  ASSERT_TRUE(report.finding);
  EXPECT_NE(report.finding->failure.signature.find("signal 27"), std::string::npos);
}

TEST(Explore, ManyRunsMayTakeLongTogether) {
  // 45 runs of 30 ms of processor time each, where one may take a second.
  const Scenario scenario{"busy", [](ScenarioRun&) {
                            const std::clock_t end = std::clock() + CLOCKS_PER_SEC * 3 / 100;
                            while (std::clock() < end) {
                            }
                            return absl::OkStatus();
                          }};
  const ExploreReport report =
      ExploreAtRandom(scenario, {.budget = {.schedules = 45}, .hang_seconds = 1});
  EXPECT_FALSE(report.finding) << report.finding->failure.text;
}

TEST(Explore, AnErrorIsAFindingAndItsNumbersDoNotTellBugsApart) {
  const auto failing = [](int sector) {
    return Scenario{"error", [sector](ScenarioRun&) -> absl::Status {
                      return absl::DataLossError(StrCat("I2 sector ", sector, ": holds nothing"));
                    }};
  };
  const ExploreReport one = ExploreAtRandom(failing(3));
  const ExploreReport other = ExploreAtRandom(failing(44));
  ASSERT_TRUE(one.finding && other.finding);
  EXPECT_EQ(one.finding->failure.signature, other.finding->failure.signature);
  EXPECT_EQ(one.finding->failure.signature, "DATA_LOSS I2 sector N");
}

TEST(Explore, AScenarioThatIsNotDeterministicIsAFinding) {
  int calls = 0;
  const Scenario scenario{"impure", [&](ScenarioRun& run) {
                            const int yields = ++calls % 2;
                            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
                              for (int i = 0; i < yields; ++i) CoYield("impure.step");
                            });
                          }};
  const ExploreReport report =
      ExploreAtRandom(scenario, {.budget = {.schedules = 10}, .run_twice_one_in = 1});
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, kNotDeterministic);
}

TEST(Explore, AScheduleThatEndsInADeadlockEverySecondTimeIsNotDeterministic) {
  int calls = 0;
  const Scenario scenario{"at times", [&](ScenarioRun& run) {
                            const bool hangs = ++calls % 2 == 0;
                            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
                              WaitQueue nobody_calls;
                              if (hangs) nobody_calls.CoWait("never", nullptr);
                            });
                          }};
  const ExploreReport report =
      ExploreAtRandom(scenario, {.budget = {.schedules = 10}, .run_twice_one_in = 1});
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, kNotDeterministic);
}

TEST(Explore, WhatTheRunsWriteToStandardErrorComesBack) {
  const Scenario scenario{"loud", [](ScenarioRun&) {
                            std::fputs("hello\n", stderr);
                            return absl::OkStatus();
                          }};
  EXPECT_EQ(ExploreAtRandom(scenario, {.budget = {.schedules = 1}}).log, "hello\n");
}

TEST(Explore, OfMuchThatIsWrittenToStandardErrorTheEndComesBack) {
  const Scenario scenario{"very loud", [](ScenarioRun&) {
                            for (int i = 0; i < 10'000; ++i) std::fputs("as ever\n", stderr);
                            MILLRACE_CHECK(1 + 1 == 3, "G0: arithmetic");
                            return absl::OkStatus();
                          }};
  const ExploreReport report = ExploreAtRandom(scenario);
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, "check explorer_test.cc: 1 + 1 == 3");
  EXPECT_EQ(report.log.size(), 64u * 1024);
}

TEST(Explore, SaysSoIfTheRecordingOfAFindingIsFull) {
  // What was noted takes all the room there is; what was chosen later is not recorded.
  const Scenario scenario{
      "talkative", [](ScenarioRun& run) {
        return run.Drive([&]() MILLRACE_MAY_SUSPEND {
          for (int i = 0; i < 70; ++i) {
            run.Note("oracle", "long",
                     std::string(1 << 20, static_cast<char>('A' + i % 26)) + std::to_string(i));
          }
          if (run.Choose("size", {"small", "large"}) == 1) run.Fail("large", "it is large");
        });
      }};
  DelayBounded strategy(1);
  const ExploreReport report = Explore(scenario, strategy);
  ASSERT_TRUE(report.finding);
  EXPECT_TRUE(report.finding->recording.is_full);
  EXPECT_TRUE(report.finding->recording.is_cut_off);
  EXPECT_EQ(report.finding->recording.failure.signature, "large");
  EXPECT_NE(report.finding->failure.text.find("full"), std::string::npos)
      << report.finding->failure.text;
}

TEST(Explore, WithoutIsolationRunsInThisProcess) {
  int calls = 0;
  const Scenario scenario{"here", [&](ScenarioRun&) {
                            ++calls;
                            return absl::OkStatus();
                          }};
  ExploreAtRandom(scenario, {.budget = {.schedules = 7}});
  EXPECT_EQ(calls, 0);
  ExploreAtRandom(scenario, {.budget = {.schedules = 7}, .isolation = Isolation::kNone});
  EXPECT_EQ(calls, 7);
}

TEST(Explore, KindsThatAreNotExploredAreAnsweredAsProductionWould) {
  const auto body = [](ScenarioRun& run) {
    const std::string_view sizes[] = {"small", "large"};
    if (run.Choose("size", sizes) != 0) run.Fail("large", "");
    return absl::OkStatus();
  };
  EXPECT_TRUE(ExploreAtRandom({"data", body}).finding);
  const ExploreReport steps_only =
      ExploreAtRandom({"data", body, ChoiceKinds({ChoiceKind::kStep})});
  EXPECT_FALSE(steps_only.finding);
  EXPECT_EQ(steps_only.choices_max, 1u);
}

// The stack of a coroutine may be refused; that it is, is an error here.
Scenario WithoutStack(bool has_faults) {
  return {"without stack",
          [has_faults](ScenarioRun& run) {
            run.SetFaults(has_faults);
            return run.Drive([]() MILLRACE_MAY_SUSPEND {});
          },
          ChoiceKinds::All()};
}

TEST(Explore, FaultsAreExploredUnlessTheScenarioKeepsThemOff) {
  DelayBounded with(1);
  const ExploreReport report = Explore(WithoutStack(true), with);
  ASSERT_TRUE(report.finding);
  EXPECT_TRUE(Replay(WithoutStack(true), report.finding->schedule).has_failed());
  DelayBounded without(1);
  EXPECT_FALSE(Explore(WithoutStack(false), without).finding);
}

TEST(Explore, CountsDifferentTraces) {
  // Two parties of one step each: two orders. 200 random runs see both many times.
  const ExploreReport report =
      ExploreAtRandom(Quiet(2, 1), {.budget = {.schedules = 200}, .counts_traces = true});
  EXPECT_EQ(report.traces, 2u);
  EXPECT_EQ(report.traces_seen_once, 0u);
}

// ---- Replay ------------------------------------------------------------------------------------

TEST(Replay, OfNothingIsProductionsOrder) {
  const ReplayReport report = Replay(Quiet(2, 2), Schedule());
  EXPECT_TRUE(report.stale.ok());
  EXPECT_FALSE(report.has_failed());
  EXPECT_FALSE(report.recording.is_cut_off);
  EXPECT_EQ(report.recording.ToSchedule(), Schedule());
}

TEST(Replay, SaysWhereAScheduleIsStale) {
  absl::StatusOr<Schedule> schedule = Schedule::FromText("s4:nobody@quiet.step");
  const ReplayReport report = Replay(Quiet(2, 2), *schedule);
  EXPECT_EQ(report.stale.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(report.stale.ToString().find("choice 4"), std::string::npos) << report.stale;
}

TEST(Replay, SaysThatAHoldIsStaleThatPassesNobodyOver) {
  for (const char* text : {"h1-5:nobody", "h1-500:nobody", "h100000-100001:looker"}) {
    const ReplayReport report = Replay(RareWindow(8), *Schedule::FromText(text));
    EXPECT_EQ(report.stale.code(), absl::StatusCode::kFailedPrecondition) << text;
    EXPECT_NE(report.stale.ToString().find("from choice 1"), std::string::npos) << report.stale;
  }
  // Held, but first in line for one choice only, and then as well.
  const ReplayReport report = Replay(RareWindow(8), *Schedule::FromText("h1-5:looker"));
  EXPECT_TRUE(report.stale.ok()) << report.stale;
}

TEST(Replay, OfAFaultWhereTheScenarioKeepsThemOffIsStale) {
  const Schedule schedule = *Schedule::FromText("f0:main@no%20stack");
  EXPECT_TRUE(Replay(WithoutStack(true), schedule).has_failed());
  EXPECT_TRUE(Replay(WithoutStack(true), schedule).stale.ok());
  const ReplayReport report = Replay(WithoutStack(false), schedule);
  EXPECT_FALSE(report.has_failed());
  EXPECT_NE(report.stale.ToString().find("choice 0"), std::string::npos) << report.stale;
}

// Goes wrong however it is played.
Scenario EndsBadly(bool crashes) {
  return {"ends badly", [crashes](ScenarioRun& run) {
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("parties");
              for (const char* name : {"a", "b"}) {
                scope.Spawn(name, [&]() MILLRACE_MAY_SUSPEND {
                  CoYield("bad.step");
                  if (crashes) std::abort();
                  WaitQueue nobody_calls;
                  nobody_calls.CoWait("bad.wait", nullptr);
                });
              }
              return scope.CoJoin();
            });
          }};
}

TEST(Replay, SaysWhereAScheduleIsStaleThoughTheRunNeverEnds) {
  for (const bool crashes : {false, true}) {
    const Scenario scenario = EndsBadly(crashes);
    const ReplayReport fits = Replay(scenario, *Schedule::FromText("s3:b@start"));
    EXPECT_TRUE(fits.has_failed());
    EXPECT_TRUE(fits.stale.ok()) << fits.stale;
    const ReplayReport report = Replay(scenario, *Schedule::FromText("s3:nobody@start"));
    EXPECT_TRUE(report.has_failed());
    EXPECT_EQ(report.stale.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_NE(report.stale.ToString().find("choice 3"), std::string::npos) << report.stale;
  }
}

TEST(Recording, HoldsEveryStepChoiceAndNoteInOrder) {
  const Scenario scenario{
      "noted", [](ScenarioRun& run) {
        return run.Drive([&]() MILLRACE_MAY_SUSPEND {
          run.Note("oracle", "counter", "starts at 0");
          TaskScope scope("parties");
          scope.Spawn("a", []() MILLRACE_MAY_SUSPEND { CoYield("a.wait"); });
          scope.Spawn("b", [&]() MILLRACE_MAY_SUSPEND { run.Note("oracle", "counter", "is 1"); });
          return scope.CoJoin();
        });
      }};
  // Choices 0 to 2 are whether there is a stack for each coroutine.
  const ReplayReport replay = Replay(scenario, *Schedule::FromText("s3:b@start"));
  EXPECT_TRUE(replay.stale.ok()) << replay.stale;
  const Recording& recording = replay.recording;
  ASSERT_EQ(recording.steps.size(), 5u);  // main, b, a, a, main
  EXPECT_EQ(recording.steps[0].party.name, "main");
  EXPECT_FALSE(recording.steps[0].choice);
  EXPECT_EQ(recording.steps[1].party.name, "b");
  ASSERT_TRUE(recording.steps[1].choice);
  const RecordedChoice& choice = recording.choices[*recording.steps[1].choice];
  ASSERT_EQ(choice.options.size(), 2u);
  EXPECT_EQ(choice.options[0].name, "a");
  EXPECT_EQ(choice.options[0].detail, "start");
  EXPECT_EQ(choice.taken, 1u);
  EXPECT_EQ(choice.step, 1u);
  EXPECT_EQ(recording.steps[3].party.detail, "a.wait");
  ASSERT_EQ(recording.notes.size(), 2u);
  EXPECT_EQ(recording.notes[0].step, 0u);
  EXPECT_EQ(recording.notes[1].step, 1u);
  EXPECT_EQ(recording.notes[1].object, "counter");
  EXPECT_EQ(recording.notes[1].text, "is 1");
}

// ---- Invariants ----------------------------------------------------------------------------------

class Room final : public InvariantChecker {
 public:
  absl::Status CheckInvariants() override {
    if (inside < 2) return absl::OkStatus();
    return absl::InternalError("X7: room 3: two are in it");
  }
  void CoVisit() MILLRACE_MAY_SUSPEND {
    ++inside;
    has_been_full = has_been_full || inside == 2;
    CoYield("inside");
    --inside;
  }

  int inside = 0;
  bool has_been_full = false;
};

enum class Visits { kAlways, kAsChosen, kAsChosenAndTellsAtTheEnd };

// Two parties; while both are in the room, what is checked does not hold. Chosen first, they stay
// outside.
Scenario TwoInTheRoom(Visits visits) {
  Scenario scenario;
  scenario.name = "two in the room";
  scenario.body = [visits](ScenarioRun& run) {
    Room room;
    Scheduler& scheduler = run.engine().scheduler();
    scheduler.AddInvariantChecker(&room);
    absl::Status status = run.Drive([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      TaskScope scope("parties");
      for (const char* name : {"a", "b"}) {
        scope.Spawn(name, [&]() MILLRACE_MAY_SUSPEND {
          const bool enters = visits == Visits::kAlways || run.Choose("enters", {"no", "yes"}) == 1;
          if (enters) room.CoVisit();
        });
      }
      return scope.CoJoin();
    });
    scheduler.RemoveInvariantChecker(&room);
    if (visits == Visits::kAsChosenAndTellsAtTheEnd && room.has_been_full) {
      status.Update(absl::DataLossError("late: it was full"));
    }
    return status;
  };
  return scenario;
}

TEST(Explore, ABrokenInvariantIsAFindingOfTheFirstScheduleAndOfItsReplay) {
  const Scenario scenario = TwoInTheRoom(Visits::kAlways);
  const ExploreReport report = ExploreAtRandom(scenario, {.budget = {.schedules = 63}});
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, "INTERNAL X7");
  EXPECT_EQ(report.schedules, 1u);
  const ReplayReport replay = Replay(scenario, report.finding->schedule);
  EXPECT_TRUE(replay.stale.ok()) << replay.stale;
  EXPECT_EQ(replay.recording.failure.signature, "INTERNAL X7");
}

TEST(Explore, InvariantsAreLookedAtInOneScheduleIn64) {
  DelayBounded strategy(2);
  const Scenario scenario = TwoInTheRoom(Visits::kAsChosen);
  const ExploreReport report = Explore(scenario, strategy, {.budget = {.schedules = 63}});
  EXPECT_FALSE(report.finding) << report.finding->failure.text;
}

TEST(Explore, AFindingIsToldByTheInvariantThatBrokeFirst) {
  DelayBounded strategy(2);
  const Scenario scenario = TwoInTheRoom(Visits::kAsChosenAndTellsAtTheEnd);
  const ExploreReport report = Explore(scenario, strategy, {.budget = {.schedules = 63}});
  ASSERT_TRUE(report.finding);
  EXPECT_GT(report.schedules, 1u) << "found by looking, not by its oracle";
  EXPECT_EQ(report.finding->failure.signature, "INTERNAL X7");
  EXPECT_NE(report.finding->failure.text.find("late"), std::string::npos);
}

TEST(Explore, AScenarioMayLookAtItsOwnOraclesOnly) {
  Scenario scenario = TwoInTheRoom(Visits::kAlways);
  scenario.checks_invariants = false;
  const ExploreReport report = ExploreAtRandom(scenario, {.budget = {.schedules = 200}});
  EXPECT_FALSE(report.finding) << report.finding->failure.text;
}

}  // namespace
}  // namespace millrace::explorer_test
