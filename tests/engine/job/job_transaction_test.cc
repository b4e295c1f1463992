// Jobs that end together. Job 'b' is always the newer one, so it comes first.
#include "millrace/engine/job/job_transaction.h"

#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/io/io_error.h"
#include "tests/support/job_harness.h"

namespace millrace::job_transaction_test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class JobTransactionTest : public ::testing::Test {
 protected:
  // Creates and starts both, and forgets the events of that.
  void StartPair(ScriptedJob::Script a, ScriptedJob::Script b, bool finalizes_automatically = true,
                 bool dismisses_automatically = true) {
    const JobSpec spec = {.finalizes_automatically = finalizes_automatically,
                          .dismisses_automatically = dismisses_automatically,
                          .transaction = world.jobs().NewTransaction()};
    a_ = world.Create("a", std::move(a), spec);
    b_ = world.Create("b", std::move(b), spec);
    world.Run([&]() MILLRACE_NO_ANALYSIS {
      EXPECT_TRUE(world.jobs().CoStart(a_).ok());
      EXPECT_TRUE(world.jobs().CoStart(b_).ok());
    });
    world.events().Clear();
  }
  // J3: exactly one of commit and abort, then clean, once.
  void CheckEnd(JobNumber job, bool committed) {
    const JobTrace& trace = world.trace(job);
    EXPECT_EQ(trace.Count("stage"), committed ? 1u : 0u);
    EXPECT_EQ(trace.Count("follow-up"), committed ? 1u : 0u);
    EXPECT_EQ(trace.Count("abort"), committed ? 0u : 1u);
    EXPECT_EQ(trace.Count("clean"), 1u);
    EXPECT_EQ(trace.calls.back(), "clean");
  }

  BareJobWorld world;
  JobNumber a_, b_;
};

// A commit that is put off is prepared again by every member. A cancel that comes between is
// recorded, as after any CoPrepare().
TEST_F(JobTransactionTest, ACommitThatIsPutOffIsPreparedAgain) {
  world.committer().put_offs = 2;
  StartPair({.pieces = 1}, {.pieces = 1});
  world.committer().before = [&] {
    EXPECT_EQ(world.StateOf("a"), JobState::kPending);
    EXPECT_TRUE(world.jobs().Cancel("a", /*force=*/true).ok());
    return absl::OkStatus();
  };
  world.Settle();
  EXPECT_EQ(world.committer().commits, 1);
  for (const JobNumber job : {a_, b_}) {
    EXPECT_EQ(world.trace(job).Count("prepare"), 3u);
    CheckEnd(job, /*committed=*/true);
  }
}

TEST_F(JobTransactionTest, ACommitThatFailsAfterItWasPutOffAbortsThemAll) {
  world.committer().put_offs = 1;
  StartPair({.pieces = 1}, {.pieces = 1});
  int tries = 0;
  world.committer().before = [&]() -> absl::Status {
    return ++tries == 1 ? absl::OkStatus() : absl::InternalError("no more");
  };
  world.Settle();
  EXPECT_EQ(world.committer().commits, 0);
  for (const JobNumber job : {a_, b_}) {
    EXPECT_EQ(world.trace(job).Count("prepare"), 2u);
    CheckEnd(job, /*committed=*/false);
  }
}

TEST_F(JobTransactionTest, MembersWaitForEachOtherAndEndNewestFirst) {
  StartPair({.pieces = 1}, {.pieces = 20});
  world.Settle();
  EXPECT_THAT(
      world.log(),
      ElementsAre("a: status waiting", "b: status waiting", "b: status pending",
                  "a: status pending", "b: completed 20/20", "b: status concluded",
                  "b: status null", "a: completed 1/1", "a: status concluded", "a: status null"));
  EXPECT_EQ(world.committer().commits, 1);
  CheckEnd(a_, true);
  CheckEnd(b_, true);
}

TEST_F(JobTransactionTest, AllPrepareBeforeAnyIsEdited) {
  std::vector<std::string> order;
  const auto write = [&](std::string_view job) {
    return [&order, job](std::string_view hook, JobContext&) {
      order.push_back(std::string(job) + " " + std::string(hook));
    };
  };
  StartPair({.in_hook = write("a")}, {.in_hook = write("b")});
  world.committer().before = [&] {
    order.emplace_back("commit");
    return absl::OkStatus();
  };
  world.Settle();
  EXPECT_THAT(order, ElementsAre("a run", "b run", "b prepare", "a prepare", "commit",
                                 "b follow-up", "b clean", "a follow-up", "a clean"));
}

TEST_F(JobTransactionTest, FinalizingOneFinalizesAll) {
  StartPair({}, {}, /*finalizes_automatically=*/false);
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("a: status waiting", "b: status waiting", "b: status pending",
                          "b: pending", "a: status pending", "a: pending"));
  world.events().Clear();
  ASSERT_TRUE(world.jobs().Finalize("a").ok());
  EXPECT_FALSE(world.jobs().Finalize("b").ok());
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("b: completed 2/2", "b: status concluded", "b: status null",
                          "a: completed 2/2", "a: status concluded", "a: status null"));
}

// One member that is finalized by hand makes all wait; only it says so.
TEST_F(JobTransactionTest, OneManualMemberHoldsAll) {
  const auto transaction = world.jobs().NewTransaction();
  world.Create("a", {}, {.finalizes_automatically = false, .transaction = transaction});
  world.Create("b", {}, {.transaction = transaction});
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    EXPECT_TRUE(world.jobs().CoStart("a").ok());
    EXPECT_TRUE(world.jobs().CoStart("b").ok());
  });
  world.Settle();
  EXPECT_EQ(world.StateOf("b"), JobState::kPending);
  EXPECT_THAT(world.log(), Contains("a: pending"));
  EXPECT_THAT(world.log(), Not(Contains("b: pending")));
  ASSERT_TRUE(world.jobs().Finalize("b").ok());
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kNull);
}

// As observed live: the cancelled one first says so, then the others are ended, newest first.
TEST_F(JobTransactionTest, CancellingOneCancelsAll) {
  StartPair({.idles = true}, {.idles = true}, true, /*dismisses_automatically=*/false);
  world.Settle();
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("a: status aborting", "b: status aborting",
                          "b: cancelled 'Operation canceled' 2/2", "b: status concluded",
                          "a: cancelled 'Operation canceled' 2/2", "a: status concluded"));
  CheckEnd(a_, false);
  CheckEnd(b_, false);
}

TEST_F(JobTransactionTest, AFailureCancelsTheOthersAndKeepsItsError) {
  StartPair({.pieces = 3, .run = ErrnoStatus(EIO, "read")}, {.idles = true});
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("a: status aborting", "b: status aborting",
                          "b: cancelled 'Operation canceled' 2/2", "b: status concluded",
                          "b: status null", "a: completed 'Input/output error' 3/3",
                          "a: status concluded", "a: status null"));
}

TEST_F(JobTransactionTest, AFailureReachesAMemberThatIsDone) {
  StartPair({.pieces = 1}, {.pieces = 20, .run = ErrnoStatus(EIO, "read")});
  world.Settle();
  EXPECT_THAT(
      world.log(),
      ElementsAre("a: status waiting", "b: status aborting",
                  "b: completed 'Input/output error' 20/20", "b: status concluded",
                  "b: status null", "a: status aborting", "a: cancelled 'Operation canceled' 1/1",
                  "a: status concluded", "a: status null"));
  CheckEnd(a_, false);
}

TEST_F(JobTransactionTest, AFailingPrepareUndoesThoseThatHavePrepared) {
  StartPair({.prepare = ErrnoStatus(EPERM, "prepare")}, {});
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("a: status waiting", "b: status waiting", "b: status pending",
                          "a: status pending", "a: status aborting", "b: status aborting",
                          "b: cancelled 'Operation canceled' 2/2", "b: status concluded",
                          "b: status null", "a: completed 'Operation not permitted' 2/2",
                          "a: status concluded", "a: status null"));
  EXPECT_EQ(world.trace(b_).Count("prepare"), 1u);
  EXPECT_EQ(world.committer().commits, 0);
  CheckEnd(a_, false);
  CheckEnd(b_, false);
}

TEST_F(JobTransactionTest, AFailingPrepareSparesThoseAfterIt) {
  StartPair({}, {.prepare = ErrnoStatus(EPERM, "prepare")});
  world.Settle();
  EXPECT_EQ(world.trace(a_).Count("prepare"), 0u);
  CheckEnd(a_, false);
}

TEST_F(JobTransactionTest, AFailingCommitIsTheErrorOfAll) {
  world.committer().before = [] { return ErrnoStatus(ENOSPC, "reserve"); };
  StartPair({}, {});
  world.Settle();
  EXPECT_THAT(world.log(), Contains("a: completed 'No space left on device' 2/2"));
  EXPECT_THAT(world.log(), Contains("b: completed 'No space left on device' 2/2"));
  CheckEnd(a_, false);
  CheckEnd(b_, false);
}

// The edits are one; what one member does afterwards is its own business.
TEST_F(JobTransactionTest, AFailingFollowUpIsItsOwnError) {
  StartPair({}, {.follow_up = ErrnoStatus(EIO, "header")});
  world.Settle();
  EXPECT_THAT(world.log(), Contains("a: completed 2/2"));
  EXPECT_THAT(world.log(), Contains("b: completed 'Input/output error' 2/2"));
  CheckEnd(a_, true);
  CheckEnd(b_, true);
}

TEST_F(JobTransactionTest, AWaitingMemberCanBeCancelled) {
  StartPair({}, {.idles = true});
  world.Settle();
  world.events().Clear();
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("b: status aborting", "b: cancelled 'Operation canceled' 2/2",
                          "b: status concluded", "b: status null", "a: status aborting",
                          "a: cancelled 'Operation canceled' 2/2", "a: status concluded",
                          "a: status null"));
}

TEST_F(JobTransactionTest, APendingMemberCanBeCancelled) {
  StartPair({}, {}, /*finalizes_automatically=*/false);
  world.Settle();
  world.events().Clear();
  ASSERT_TRUE(world.jobs().Cancel("b", false).ok());
  EXPECT_FALSE(world.jobs().Finalize("a").ok());
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("b: status aborting", "b: cancelled 'Operation canceled' 2/2",
                          "b: status concluded", "b: status null", "a: status aborting",
                          "a: cancelled 'Operation canceled' 2/2", "a: status concluded",
                          "a: status null"));
}

TEST_F(JobTransactionTest, ACancelAfterFinalizeButBeforeTheFirstPrepareCounts) {
  StartPair({}, {}, /*finalizes_automatically=*/false);
  world.Settle();
  world.trace(b_).quiescable->BeginQuiesce();
  ASSERT_TRUE(world.jobs().Finalize("a").ok());
  world.Settle();  // waits for the drain that holds 'b'
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  world.trace(b_).quiescable->EndQuiesce();
  world.Settle();
  EXPECT_EQ(world.trace(b_).Count("prepare"), 0u);
  CheckEnd(a_, false);
  CheckEnd(b_, false);
}

TEST_F(JobTransactionTest, ACancelAfterTheFirstPrepareDoesNot) {
  StartPair({.yields = 3}, {.yields = 3}, /*finalizes_automatically=*/false);
  world.Settle();
  ASSERT_TRUE(world.jobs().Finalize("a").ok());
  world.engine().RunUntil([&] { return world.trace(b_).Count("prepare") == 1; });
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  world.Settle();
  EXPECT_THAT(world.log(), Contains("a: completed 2/2"));
  CheckEnd(a_, true);
  CheckEnd(b_, true);
}

TEST_F(JobTransactionTest, AMemberThatWasNeverStartedEndsSilently) {
  const auto transaction = world.jobs().NewTransaction();
  a_ = world.Create("a", {}, {.transaction = transaction});
  b_ = world.Create("b", {}, {.dismisses_automatically = false, .transaction = transaction});
  world.Run([&]() MILLRACE_NO_ANALYSIS { EXPECT_TRUE(world.jobs().CoStart("a").ok()); });
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kWaiting);
  world.events().Clear();
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("b: status aborting", "b: status concluded", "b: status null",
                          "a: status aborting", "a: cancelled 'Operation canceled' 2/2",
                          "a: status concluded", "a: status null"));
  CheckEnd(b_, false);
}

TEST_F(JobTransactionTest, CancellingAMemberThatWasNeverStartedEndsAll) {
  const auto transaction = world.jobs().NewTransaction();
  a_ = world.Create("a", {.idles = true}, {.transaction = transaction});
  b_ = world.Create("b", {}, {.transaction = transaction});
  world.Run([&]() MILLRACE_NO_ANALYSIS { EXPECT_TRUE(world.jobs().CoStart("a").ok()); });
  world.Settle();
  ASSERT_TRUE(world.jobs().Cancel("b", true).ok());
  // It is as good as dead; it cannot be started any more.
  world.Run([&]() MILLRACE_NO_ANALYSIS { EXPECT_FALSE(world.jobs().CoStart("b").ok()); });
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kNull);
  EXPECT_EQ(world.StateOf("b"), JobState::kNull);
  CheckEnd(a_, false);
  CheckEnd(b_, false);
}

TEST_F(JobTransactionTest, NobodyJoinsOnceAMemberIsDone) {
  const auto transaction = world.jobs().NewTransaction();
  world.Start("a", {}, {.finalizes_automatically = false, .transaction = transaction});
  world.Settle();
  auto trace = std::make_shared<JobTrace>();
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    const absl::StatusOr<JobNumber> late =
        world.jobs().CoCreate({.id = "b", .transaction = transaction},
                              std::make_unique<ScriptedJob>(ScriptedJob::Script{}, trace));
    ASSERT_FALSE(late.ok());
    EXPECT_EQ(ConflictOf(late.status())->reason, ConflictReason::kTransactionClosed);
    EXPECT_EQ(world.jobs().CheckNewJob({.id = "b", .transaction = transaction}), late.status());
  });
  EXPECT_THAT(trace->calls, ElementsAre("abort", "clean"));
  EXPECT_TRUE(trace->is_destroyed);
}

// A member is finished in another one's coroutine; a drain that holds it is respected all the same.
TEST_F(JobTransactionTest, ADrainOfOneMemberHoldsItsHooksInAnothersCoroutine) {
  StartPair({}, {}, /*finalizes_automatically=*/false);
  world.Settle();
  world.events().Clear();
  world.trace(a_).quiescable->BeginQuiesce();
  ASSERT_TRUE(world.jobs().Finalize("b").ok());
  world.Settle();
  EXPECT_EQ(world.trace(b_).Count("prepare"), 1u);
  EXPECT_EQ(world.trace(a_).Count("prepare"), 0u);
  EXPECT_TRUE(world.trace(b_).quiescable->is_quiet());
  EXPECT_THAT(world.log(), IsEmpty());
  world.trace(a_).quiescable->EndQuiesce();
  world.Settle();
  CheckEnd(a_, true);
  CheckEnd(b_, true);
}

TEST_F(JobTransactionTest, PendingWaitsForADrainOfAnyMember) {
  StartPair({}, {.pieces = 20});
  world.engine().RunUntil([&] { return world.StateOf("a") == JobState::kWaiting; });
  world.trace(a_).quiescable->BeginQuiesce();
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kWaiting);
  EXPECT_EQ(world.StateOf("b"), JobState::kWaiting);
  world.trace(a_).quiescable->EndQuiesce();
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kNull);
}

// All members are at rest for the commit's own section, and exempt from others' while it is
// granted.
TEST_F(JobTransactionTest, AllMembersAreInAStepDuringTheCommit) {
  StartPair({}, {});
  world.committer().before = [&] {
    EXPECT_FALSE(world.trace(a_).quiescable->is_quiet());
    EXPECT_FALSE(world.trace(b_).quiescable->is_quiet());
    return absl::OkStatus();
  };
  world.Settle();
  CheckEnd(a_, true);
}

TEST_F(JobTransactionTest, AUserPausedMemberIsWokenToBeCancelled) {
  StartPair({.idles = true}, {.idles = true});
  world.Settle();
  ASSERT_TRUE(world.jobs().Pause("b").ok());
  world.Settle();
  world.events().Clear();
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  world.Settle();
  EXPECT_THAT(world.events().Of("b"),
              ElementsAre("status running", "status aborting", "cancelled 'Operation canceled' 2/2",
                          "status concluded", "status null"));
}

}  // namespace
}  // namespace millrace::job_transaction_test
