// What clients see, and in which order.
#include "millrace/engine/job/job_event.h"

#include <cerrno>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/io/io_error.h"
#include "tests/support/job_harness.h"

namespace millrace::job_events_test {
namespace {

using ::testing::ElementsAre;

TEST(JobEvents, OfAJobThatRunsAndEnds) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.pieces = 2, .piece_bytes = 512});
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("a: status created", "a: status running", "a: status waiting",
                          "a: status pending", "a: completed 1024/1024", "a: status concluded",
                          "a: status null"));
  EXPECT_THAT(world.trace(job).calls,
              ElementsAre("created", "run", "prepare", "stage", "follow-up", "clean"));
  EXPECT_TRUE(world.trace(job).is_destroyed);
}

TEST(JobEvents, OfAJobFinalizedAndDismissedByHand) {
  BareJobWorld world;
  world.Start("a", {}, {.finalizes_automatically = false, .dismisses_automatically = false});
  world.Settle();
  EXPECT_THAT(world.log(), ElementsAre("a: status created", "a: status running",
                                       "a: status waiting", "a: status pending", "a: pending"));
  world.events().Clear();
  ASSERT_TRUE(world.jobs().Finalize("a").ok());
  world.Settle();
  EXPECT_THAT(world.log(), ElementsAre("a: completed 2/2", "a: status concluded"));
  world.events().Clear();
  ASSERT_TRUE(world.jobs().Dismiss("a").ok());
  EXPECT_THAT(world.log(), ElementsAre("a: status null"));
  EXPECT_EQ(world.StateOf("a"), JobState::kNull);
}

TEST(JobEvents, OfAMirrorThatIsCompleted) {
  BareJobWorld world;
  world.Start("a", {.has_ready_phase = true});
  world.Settle();
  EXPECT_THAT(world.log(), ElementsAre("a: status created", "a: status running", "a: status ready",
                                       "a: ready 2/2"));
  world.events().Clear();
  ASSERT_TRUE(world.jobs().Complete("a").ok());
  world.Settle();
  EXPECT_THAT(world.log(), ElementsAre("a: status waiting", "a: status pending", "a: completed 2/2",
                                       "a: status concluded", "a: status null"));
}

TEST(JobEvents, OfAReadyMirrorCancelledSoftly) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.has_ready_phase = true});
  world.Settle();
  world.events().Clear();
  ASSERT_TRUE(world.jobs().Cancel("a", /*force=*/false).ok());
  EXPECT_FALSE(world.jobs().Complete("a").ok());
  world.Settle();
  EXPECT_THAT(world.log(), ElementsAre("a: status waiting", "a: status pending", "a: completed 2/2",
                                       "a: status concluded", "a: status null"));
  EXPECT_THAT(world.trace(job).calls, ElementsAre("created", "run", "cancel-soft", "prepare",
                                                  "stage", "follow-up", "clean"));
}

TEST(JobEvents, OfAReadyMirrorCancelledByForce) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.has_ready_phase = true});
  world.Settle();
  world.events().Clear();
  ASSERT_TRUE(world.jobs().Cancel("a", /*force=*/true).ok());
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("a: status aborting", "a: cancelled 'Operation canceled' 2/2",
                          "a: status concluded", "a: status null"));
  EXPECT_THAT(world.trace(job).calls,
              ElementsAre("created", "run", "cancel-force", "abort", "clean"));
}

TEST(JobEvents, OfAMirrorCancelledSoftlyBeforeItIsReady) {
  BareJobWorld world;
  world.Start("a", {.pieces = 1000, .has_ready_phase = true});
  world.events().Clear();
  ASSERT_TRUE(world.jobs().Cancel("a", /*force=*/false).ok());
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("a: status aborting", "a: cancelled 'Operation canceled' 0/0",
                          "a: status concluded", "a: status null"));
}

TEST(JobEvents, OfARunThatFails) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.run = ErrnoStatus(EIO, "read img at 0")});
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("a: status created", "a: status running", "a: status aborting",
                          "a: completed 'Input/output error' 2/2", "a: status concluded",
                          "a: status null"));
  EXPECT_THAT(world.trace(job).calls, ElementsAre("created", "run", "abort", "clean"));
}

TEST(JobEvents, KeepTheFullStatusBesideTheShortText) {
  BareJobWorld world;
  world.Start("a", {.run = ErrnoStatus(EIO, "read img at 0")});
  world.Start("b", {.run = absl::FailedPreconditionError("sizes differ")});
  world.Settle();
  size_t completed = 0;
  for (const JobEvent& event : world.events().events()) {
    if (event.kind != JobEventKind::kCompleted) continue;
    ++completed;
    EXPECT_EQ(event.error, event.id == "a" ? "Input/output error" : "sizes differ");
    EXPECT_EQ(event.status.message(),
              event.id == "a" ? "read img at 0: Input/output error" : "sizes differ");
  }
  EXPECT_EQ(completed, 2u);
}

TEST(JobEvents, OfAFailingPrepare) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.prepare = ErrnoStatus(EPERM, "prepare")});
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("a: status created", "a: status running", "a: status waiting",
                          "a: status pending", "a: status aborting",
                          "a: completed 'Operation not permitted' 2/2", "a: status concluded",
                          "a: status null"));
  EXPECT_THAT(world.trace(job).calls, ElementsAre("created", "run", "prepare", "abort", "clean"));
}

TEST(JobEvents, OfAFailingCommit) {
  BareJobWorld world;
  world.committer().before = [] { return ErrnoStatus(ENOSPC, "reserve"); };
  const JobNumber job = world.Start("a", {});
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("a: status created", "a: status running", "a: status waiting",
                          "a: status pending", "a: status aborting",
                          "a: completed 'No space left on device' 2/2", "a: status concluded",
                          "a: status null"));
  EXPECT_THAT(world.trace(job).calls, ElementsAre("created", "run", "prepare", "abort", "clean"));
}

// The edit is done, so nothing is rolled back; the client still learns of the failure.
TEST(JobEvents, OfAFailingFollowUp) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.follow_up = ErrnoStatus(EIO, "write header")});
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("a: status created", "a: status running", "a: status waiting",
                          "a: status pending", "a: status aborting",
                          "a: completed 'Input/output error' 2/2", "a: status concluded",
                          "a: status null"));
  EXPECT_THAT(world.trace(job).calls,
              ElementsAre("created", "run", "prepare", "stage", "follow-up", "clean"));
}

TEST(JobEvents, OfAUserPause) {
  BareJobWorld world;
  world.Start("a", {.pieces = 1000});
  ASSERT_TRUE(world.jobs().Pause("a").ok());
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kPaused);
  ASSERT_TRUE(world.jobs().Resume("a").ok());
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("a: status created", "a: status running", "a: status paused",
                          "a: status running", "a: status waiting", "a: status pending",
                          "a: completed 1000/1000", "a: status concluded", "a: status null"));
}

TEST(JobEvents, OfAPauseInReady) {
  BareJobWorld world;
  world.Start("a", {.has_ready_phase = true});
  world.Settle();
  world.events().Clear();
  ASSERT_TRUE(world.jobs().Pause("a").ok());
  world.Settle();
  EXPECT_THAT(world.log(), ElementsAre("a: status standby"));
  ASSERT_TRUE(world.jobs().Resume("a").ok());
  world.Settle();
  EXPECT_THAT(world.log(), ElementsAre("a: status standby", "a: status ready"));
}

// A paused job never goes straight to aborting.
TEST(JobEvents, OfAPausedJobThatIsCancelled) {
  BareJobWorld world;
  const JobNumber job =
      world.Start("a", {.pieces = 1000, .in_hook = [&](std::string_view hook, JobContext&) {
                          EXPECT_TRUE(hook != "run" || world.jobs().Pause("a").ok());
                        }});
  world.Settle();
  world.events().Clear();
  ASSERT_TRUE(world.jobs().Cancel("a", /*force=*/true).ok());
  world.Settle();
  EXPECT_THAT(world.log(), ElementsAre("a: status running", "a: status aborting",
                                       "a: cancelled 'Operation canceled' 0/1000",
                                       "a: status concluded", "a: status null"));
  EXPECT_THAT(world.trace(job).calls, ElementsAre("created", "run", "stop-io", "cancel-force",
                                                  "user-resume", "restart-io", "abort", "clean"));
}

// Its body has not begun, so there is nothing to stop.
TEST(JobEvents, OfAJobCancelledBeforeItsFirstStep) {
  BareJobWorld world;
  const JobNumber job = world.Create("a", {});
  ASSERT_TRUE(world.jobs().Pause("a").ok());
  world.Run([&]() MILLRACE_NO_ANALYSIS { EXPECT_TRUE(world.jobs().CoStart("a").ok()); });
  world.Settle();
  ASSERT_TRUE(world.jobs().Cancel("a", /*force=*/true).ok());
  world.Settle();
  EXPECT_THAT(world.log(), ElementsAre("a: status created", "a: status running", "a: status paused",
                                       "a: status running", "a: status aborting",
                                       "a: cancelled 'Operation canceled' 0/0",
                                       "a: status concluded", "a: status null"));
  EXPECT_THAT(world.trace(job).calls,
              ElementsAre("created", "cancel-force", "user-resume", "abort", "clean"));
}

// It never ran, so there is nothing to say about how it ended.
TEST(JobEvents, OfACreatedJobThatIsCancelled) {
  BareJobWorld world;
  const JobNumber job = world.Create("a", {}, {.dismisses_automatically = false});
  ASSERT_TRUE(world.jobs().Cancel("a", /*force=*/false).ok());
  world.Settle();
  EXPECT_THAT(world.log(), ElementsAre("a: status created", "a: status aborting",
                                       "a: status concluded", "a: status null"));
  EXPECT_THAT(world.trace(job).calls, ElementsAre("created", "cancel-force", "abort", "clean"));
}

TEST(JobEvents, CarryTheSpeedOfTheMoment) {
  BareJobWorld world;
  world.Start("a", {.has_ready_phase = true}, {.speed = 1000});
  world.Settle();
  ASSERT_TRUE(world.jobs().SetSpeed("a", 77).ok());
  ASSERT_TRUE(world.jobs().Complete("a").ok());
  world.Settle();
  std::vector<int64_t> speeds;
  for (const JobEvent& event : world.events().events()) {
    if (event.kind == JobEventKind::kReady || event.kind == JobEventKind::kCompleted) {
      speeds.push_back(event.speed);
    }
  }
  EXPECT_THAT(speeds, ElementsAre(1000, 77));
}

TEST(JobEvents, AreNotSaidOfInternalJobs) {
  BareJobWorld world;
  auto trace = std::make_shared<JobTrace>();
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    absl::StatusOr<JobNumber> job = world.jobs().CoCreate(
        {.is_internal = true}, std::make_unique<ScriptedJob>(ScriptedJob::Script{}, trace));
    ASSERT_TRUE(job.ok()) << job.status();
    EXPECT_TRUE(world.jobs().CoStart(*job).ok());
    EXPECT_TRUE(world.jobs().CoWaitUntilOver(*job).ok());
  });
  EXPECT_EQ(trace->pieces_done, 2u);
  EXPECT_TRUE(world.log().empty());
}

// J5: a query right after COMPLETED shows no job, because nothing else ran in between.
TEST(JobEvents, NothingRunsBetweenCompletedAndNull) {
  BareJobWorld world;
  bool seen_between = false;
  uint64_t looks = 0;
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    world.CoStart("a", {});
    for (; world.StateOf("a") != JobState::kNull; ++looks) {
      for (const std::string& line : world.log()) seen_between |= line == "a: completed 2/2";
      CoYield();
    }
  });
  EXPECT_FALSE(seen_between);
  EXPECT_GT(looks, 5u) << "did not look often enough to see anything";
  EXPECT_EQ(world.log().back(), "a: status null");
}

}  // namespace
}  // namespace millrace::job_events_test
