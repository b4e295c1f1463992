#include "millrace/engine/scheduler/decider.h"

#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/engine.h"
#include "millrace/engine/sync/mutex.h"
#include "tests/support/simulation.h"

namespace millrace::decider_test {
namespace {

using Options = std::vector<Option>;

const Options kThreeWorkers = {{1, "worker", "a"}, {2, "worker", "b"}, {3, "worker", "b"}};

TEST(FifoDecider, AlwaysTakesTheFirst) {
  FifoDecider decider;
  EXPECT_EQ(decider.Pick(ChoiceKind::kStep, kThreeWorkers), 0u);
  EXPECT_EQ(decider.Pick(ChoiceKind::kOutcome, kThreeWorkers), 0u);
  EXPECT_EQ(decider.choices(), 2u);
}

TEST(RandomStream, EqualSeedsAndNamesAgreeAndOthersDiffer) {
  RandomStream a(1, "schedule");
  RandomStream same(1, "schedule");
  RandomStream other_name(1, "faults");
  RandomStream other_seed(2, "schedule");
  const uint64_t first = a.Next();
  EXPECT_EQ(same.Next(), first);
  EXPECT_NE(other_name.Next(), first);
  EXPECT_NE(other_seed.Next(), first);
}

TEST(RandomDecider, TakesEachOptionOfAStepAboutEquallyOften) {
  RandomDecider decider(1);
  int taken[3] = {};
  for (int i = 0; i < 3000; ++i) ++taken[decider.Pick(ChoiceKind::kStep, kThreeWorkers)];
  for (int count : taken) EXPECT_NEAR(count, 1000, 150);
}

TEST(RandomDecider, LeavesFaultsAloneUnlessAsked) {
  RandomDecider decider(1);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(decider.Pick(ChoiceKind::kOutcome, kThreeWorkers), 0u);
    EXPECT_EQ(decider.Pick(ChoiceKind::kFault, kThreeWorkers), 0u);
    EXPECT_EQ(decider.Pick(ChoiceKind::kCrash, kThreeWorkers), 0u);
  }
}

TEST(RandomDecider, DeviatesAtTheAskedRateAndInEveryWay) {
  RandomDecider decider(1, {.outcome_one_in = 10});
  int taken[3] = {};
  for (int i = 0; i < 10'000; ++i) ++taken[decider.Pick(ChoiceKind::kOutcome, kThreeWorkers)];
  EXPECT_NEAR(taken[0], 9000, 150);
  EXPECT_NEAR(taken[1], 500, 100);
  EXPECT_NEAR(taken[2], 500, 100);
}

// One seed's schedule must stay the same when a test draws more data or turns faults on.
TEST(RandomDecider, FaultsAndDataDoNotShiftTheSchedule) {
  RandomDecider plain(7);
  RandomDecider busy(7, {.outcome_one_in = 2});
  for (int i = 0; i < 100; ++i) {
    busy.Pick(ChoiceKind::kOutcome, kThreeWorkers);
    busy.Pick(ChoiceKind::kData, kThreeWorkers);
    EXPECT_EQ(busy.Pick(ChoiceKind::kStep, kThreeWorkers),
              plain.Pick(ChoiceKind::kStep, kThreeWorkers));
  }
}

TEST(RandomDecider, RecordsDeviationsOnlyAndNothingIfToldSo) {
  RandomDecider recording(3);
  RandomDecider silent(3, {}, RandomDecider::Recording::kOff);
  size_t deviations = 0;
  for (int i = 0; i < 100; ++i) {
    const size_t taken = recording.Pick(ChoiceKind::kStep, kThreeWorkers);
    EXPECT_EQ(silent.Pick(ChoiceKind::kStep, kThreeWorkers), taken);
    deviations += taken != 0;
  }
  EXPECT_EQ(recording.decisions().size(), deviations);
  EXPECT_TRUE(silent.decisions().empty());
  EXPECT_EQ(silent.choices(), 100u);
}

// ---- Replay -------------------------------------------------------------------------------------

Decision Deviation(uint64_t ordinal, std::string label, uint32_t equals_before = 0) {
  return {ordinal, ChoiceKind::kStep, equals_before, std::move(label)};
}

TEST(ReplayDecider, DeviatesWhereRecordedAndIsCanonicalElsewhere) {
  ReplayDecider replay({Deviation(1, "worker@b")});
  EXPECT_EQ(replay.Pick(ChoiceKind::kStep, kThreeWorkers), 0u);
  EXPECT_EQ(replay.Pick(ChoiceKind::kStep, kThreeWorkers), 1u);
  EXPECT_EQ(replay.Pick(ChoiceKind::kStep, kThreeWorkers), 0u);
  EXPECT_TRUE(replay.Finish().ok());
}

// Two workers of one name wait at one yield point: the second one was meant, wherever it is now.
TEST(ReplayDecider, TellsEqualLabelsApartByTheirOrder) {
  const Options with_a_stranger = {
      {9, "stranger", "x"}, {1, "worker", "a"}, {2, "worker", "b"}, {3, "worker", "b"}};
  ReplayDecider replay({Deviation(0, "worker@b", 1)});
  EXPECT_EQ(replay.Pick(ChoiceKind::kStep, with_a_stranger), 3u);
  EXPECT_TRUE(replay.Finish().ok());
}

TEST(ReplayDecider, SaysWhereAScheduleIsStaleAndStopsDeviating) {
  ReplayDecider replay({Deviation(0, "worker@gone"), Deviation(1, "worker@b")});
  EXPECT_EQ(replay.Pick(ChoiceKind::kStep, kThreeWorkers), 0u);
  EXPECT_EQ(replay.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(replay.status().ToString().find("option 'worker@gone' of step choice 0"),
            std::string::npos)
      << replay.status();
  EXPECT_EQ(replay.Pick(ChoiceKind::kStep, kThreeWorkers), 0u);
  EXPECT_EQ(replay.Finish(), replay.status());
}

TEST(ReplayDecider, IsStaleIfTheKindOfChoiceChanged) {
  ReplayDecider replay({Deviation(0, "worker@b")});
  EXPECT_EQ(replay.Pick(ChoiceKind::kWake, kThreeWorkers), 0u);
  EXPECT_NE(replay.status().ToString().find("wake choice"), std::string::npos) << replay.status();
}

TEST(ReplayDecider, IsStaleIfTheRunEndsBeforeTheLastDecision) {
  ReplayDecider replay({Deviation(5, "worker@b")});
  EXPECT_EQ(replay.Pick(ChoiceKind::kStep, kThreeWorkers), 0u);
  EXPECT_TRUE(replay.status().ok());
  EXPECT_EQ(replay.Finish().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(replay.Finish().ToString().find("never came to option 'worker@b'"), std::string::npos);
}

// A whole engine: Explore() compares the trace of the replay with that of the recorded run. Equal
// names and a contended mutex make labels that only their order tells apart.
TEST(ReplayDecider, RepeatsAWholeRunOfEquallyNamedWorkers) {
  Explore([](Engine& engine, uint64_t) {
    Mutex mutex("shared");
    absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND {
      TaskScope scope("workers");
      for (int i = 0; i < 6; ++i) {
        scope.Spawn("worker", [&]() MILLRACE_MAY_SUSPEND {
          for (int round = 0; round < 3; ++round) {
            MutexLock lock(CoHold(mutex));
            CoYield();
          }
        });
      }
      return scope.CoJoin();
    });
    EXPECT_TRUE(status.ok());
  });
}

TEST(Decider, ReplayOfAChangedProgramIsReportedAsStale) {
  auto run = [](Decider& decider, const char* yield_point) {
    auto engine = SimulatedEngine(&decider);
    EXPECT_TRUE(engine
                    ->Run([&]() MILLRACE_MAY_SUSPEND {
                      TaskScope scope("workers");
                      for (int i = 0; i < 3; ++i) {
                        scope.Spawn("worker", [=]() MILLRACE_MAY_SUSPEND {
                          for (int round = 0; round < 5; ++round) CoYield(yield_point);
                        });
                      }
                      return scope.CoJoin();
                    })
                    .ok());
  };
  RandomDecider recorded(1);
  run(recorded, "before");
  ReplayDecider unchanged(recorded.decisions());
  run(unchanged, "before");
  EXPECT_TRUE(unchanged.Finish().ok()) << unchanged.Finish();
  ReplayDecider changed(recorded.decisions());
  run(changed, "after");
  EXPECT_FALSE(changed.Finish().ok());
}

}  // namespace
}  // namespace millrace::decider_test
