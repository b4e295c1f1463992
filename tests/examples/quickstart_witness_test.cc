#include "examples/quickstart/witness.h"

#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/scope/task_scope.h"
#include "tests/support/simulation.h"

namespace millrace::quickstart_witness_test {
namespace {

using ::testing::HasSubstr;

// What the events of a run say, told by hand.
class WitnessTest : public ::testing::Test {
 protected:
  void Is(std::string_view job, JobState state, std::string_view type = "stream") {
    JobEvent event;
    event.id = std::string(job);
    event.type = std::string(type);
    event.state = state;
    witness_.OnJobEvent(event);
  }
  void Begins(std::string_view job, std::string_view type = "stream") {
    Is(job, JobState::kCreated, type);
    Is(job, JobState::kRunning, type);
  }
  void Ends(std::string_view job) {
    Is(job, JobState::kWaiting);
    Is(job, JobState::kNull);
  }
  void MoveFilter(std::string_view job, absl::Status status = absl::OkStatus()) {
    JobEvent event;
    event.kind = JobEventKind::kCompleted;
    event.id = std::string(job);
    event.type = job.ends_with("-in") ? "insert-filter" : "remove-filter";
    event.status = std::move(status);
    witness_.OnJobEvent(event);
  }
  void GuestDoes(uint64_t reads, uint64_t writes) {
    for (; reads > 0; --reads) witness_.OnGuestRead();
    for (; writes > 0; --writes) witness_.OnGuestWrite();
  }
  // A run that shows all that is demanded.
  void ShowEverything() {
    Begins("a-one");
    Begins("a-two", "commit");
    MoveFilter("a-throttle-in");
    GuestDoes(3, 2);
    Ends("a-one");
    Ends("a-two");
    MoveFilter("a-throttle-out");
  }
  std::string Verdict() const {
    const absl::Status status = witness_.Verdict(
        {.jobs_at_once = {"one", "two"}, .filters = {"throttle"}, .reads = 3, .writes = 2});
    EXPECT_TRUE(status.ok() || absl::IsFailedPrecondition(status)) << status;
    return std::string(status.message());
  }

  Witness witness_{"a"};
};

TEST_F(WitnessTest, ARunThatShowedEverythingPasses) {
  ShowEverything();
  EXPECT_EQ(Verdict(), "");
}

TEST_F(WitnessTest, JobsOneAfterTheOtherAreNotAtWorkAtOnce) {
  Begins("a-one");
  Is("a-two", JobState::kCreated, "commit");  // which is no work yet
  Ends("a-one");
  Begins("a-two", "commit");
  EXPECT_EQ(Verdict(),
            "the run of chain a showed too little: these jobs were never all at work at once: one, "
            "two; most that were: one");
}

TEST_F(WitnessTest, AJobThatADrainHoldsIsAtWorkAllTheSame) {
  Begins("a-one");
  Is("a-one", JobState::kPaused);
  Begins("a-two", "commit");
  EXPECT_THAT(Verdict(), HasSubstr("filter throttle was never inserted"));
}

TEST_F(WitnessTest, JobsOfOtherChainsDoNotCount) {
  Begins("a-one");
  Begins("b-two");
  EXPECT_THAT(Verdict(), HasSubstr("never all at work at once"));
  MoveFilter("b-throttle-in");
  Begins("a-two");
  EXPECT_THAT(Verdict(), HasSubstr("filter throttle was never inserted"));
}

TEST_F(WitnessTest, AFilterThatCameAfterTheJobsMetNobody) {
  Begins("a-one");
  Begins("a-two", "commit");
  GuestDoes(3, 2);
  Ends("a-one");
  Ends("a-two");
  MoveFilter("a-throttle-in");
  MoveFilter("a-throttle-out");
  EXPECT_THAT(Verdict(), HasSubstr("filter throttle was inserted while no job was at work"));
}

TEST_F(WitnessTest, AFilterHasToComeOutAgain) {
  Begins("a-one");
  Begins("a-two", "commit");
  MoveFilter("a-throttle-in", absl::InternalError("no"));
  EXPECT_THAT(Verdict(), HasSubstr("filter throttle was never inserted"));
  MoveFilter("a-throttle-in");
  MoveFilter("a-throttle-out", absl::InternalError("no"));
  EXPECT_THAT(Verdict(), HasSubstr("filter throttle was not taken out again"));
}

TEST_F(WitnessTest, WhatTheGuestDidWhileNoJobWasAtWorkDoesNotCount) {
  GuestDoes(10, 10);
  Begins("a-one");
  Begins("a-two", "commit");
  MoveFilter("a-throttle-in");
  GuestDoes(2, 2);
  Ends("a-one");
  Ends("a-two");
  MoveFilter("a-throttle-out");
  GuestDoes(10, 10);
  EXPECT_THAT(Verdict(), HasSubstr("the guest did only 2 reads and 2 writes while jobs were at "
                                   "work; it should be 3 and 2"));
}

TEST_F(WitnessTest, BothReadsAndWritesCount) {
  ShowEverything();
  EXPECT_THAT(std::string(witness_.Verdict({.reads = 4, .writes = 2}).message()),
              HasSubstr("only 3 reads and 2 writes"));
  EXPECT_THAT(std::string(witness_.Verdict({.reads = 3, .writes = 3}).message()),
              HasSubstr("only 3 reads and 2 writes"));
}

// ---- Waiting for the guest ---------------------------------------------------------------------

// Whether CoAwaitGuest(2) has returned once `what` has happened.
class AwaitGuestTest : public WitnessTest {
 protected:
  template <typename What>
  bool HasReturnedAfter(What what) {
    std::unique_ptr<Engine> engine = SimulatedEngine();
    TaskScope scope(engine->scheduler(), "test");
    scope.Spawn("waits", [&]() MILLRACE_MAY_SUSPEND { witness_.CoAwaitGuest(2); });
    engine->RunUntil([] { return false; });
    EXPECT_EQ(scope.live(), 1u) << "nothing has happened yet";
    what();
    engine->RunUntil([] { return false; });
    const bool has_returned = scope.live() == 0;
    witness_.OnGuestOver();
    engine->RunUntil([] { return false; });
    EXPECT_TRUE(scope.Finish().ok());
    return has_returned;
  }
};

TEST_F(AwaitGuestTest, ReturnsOnceBothReadsAndWritesAreDone) {
  Begins("a-one");
  GuestDoes(10, 10);  // before
  EXPECT_FALSE(HasReturnedAfter([&] { GuestDoes(1, 10); }));
}

TEST_F(AwaitGuestTest, ReturnsAfterSoManyMore) {
  Begins("a-one");
  GuestDoes(10, 10);
  EXPECT_TRUE(HasReturnedAfter([&] { GuestDoes(2, 2); }));
}

TEST_F(AwaitGuestTest, ReturnsWhenTheGuestIsOver) {
  Begins("a-one");
  EXPECT_TRUE(HasReturnedAfter([&] { witness_.OnGuestOver(); }));
}

TEST_F(AwaitGuestTest, ReturnsWhenNoJobIsAtWorkAnyMore) {
  Begins("a-one");
  Begins("a-two", "commit");
  EXPECT_TRUE(HasReturnedAfter([&] {
    Ends("a-one");
    Ends("a-two");
  }));
}

}  // namespace
}  // namespace millrace::quickstart_witness_test
