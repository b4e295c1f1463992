// A cancel at every point at which a job can be interrupted (race R26, invariant I12).
#include <cerrno>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "tests/support/job_harness.h"

namespace millrace::job_cancel_test {
namespace {

using Scene = std::function<void(BareJobWorld& world)>;

struct Seen {
  int points = 0;     // at which a cancel was accepted
  int cancelled = 0;  // ended so
  int completed = 0;
};

// Runs `scene`, then k steps, then cancels job 'a', for every k; checks each end.
Seen CancelEverywhere(const Scene& scene, bool force) {
  Seen seen;
  for (uint64_t k = 0;; ++k) {
    SCOPED_TRACE(StrCat("cancelled after ", k, " steps"));
    BareJobWorld world;
    scene(world);
    world.Step(k);
    const absl::StatusOr<JobInfo> before = world.jobs().Query("a");
    if (!before.ok()) return seen;
    JobTrace& trace = world.trace(before->number);
    const uint64_t pieces = trace.pieces_done;
    if (!world.jobs().Cancel("a", force).ok()) {
      EXPECT_EQ(before->state, JobState::kAborting);
      continue;
    }
    ++seen.points;
    world.Settle();
    EXPECT_EQ(world.StateOf("a"), JobState::kNull);
    // I12: the piece in flight may end; none is begun.
    EXPECT_LE(trace.pieces_done, pieces + 1);
    const std::vector<std::string> events = world.events().Of("a");
    const bool was_cancelled = events[events.size() - 3].starts_with("cancelled");
    const bool was_completed = events[events.size() - 3].starts_with("completed");
    EXPECT_NE(was_cancelled, was_completed) << ::testing::PrintToString(events);
    EXPECT_EQ(trace.Count("stage"), was_completed ? 1u : 0u);
    EXPECT_EQ(trace.Count("abort"), was_completed ? 0u : 1u);
    EXPECT_EQ(trace.Count("clean"), 1u);
    seen.cancelled += was_cancelled;
    seen.completed += was_completed;
    // It is lost only where it came too late.
    const bool may_complete = before->is_finalizing || (!force && before->is_ready);
    EXPECT_TRUE(was_cancelled || may_complete) << ::testing::PrintToString(events);
    EXPECT_TRUE(was_completed || !before->is_finalizing) << ::testing::PrintToString(events);
  }
}

TEST(CancelAtEveryStep, OfAPlainJob) {
  for (const bool force : {true, false}) {
    const Seen seen = CancelEverywhere(
        [](BareJobWorld& world) { world.Start("a", {.pieces = 3, .yields = 2}); }, force);
    EXPECT_GT(seen.cancelled, 10);
    EXPECT_GT(seen.completed, 3) << "no point after the first CoPrepare() was tried";
  }
}

TEST(CancelAtEveryStep, OfAMirrorThatIsCompleted) {
  const Scene scene = [](BareJobWorld& world) {
    world.Start("a", {.pieces = 3,
                      .yields = 2,
                      .has_ready_phase = true,
                      .in_hook = [&world](std::string_view hook, JobContext&) {
                        EXPECT_TRUE(hook != "ready" || world.jobs().Complete("a").ok());
                      }});
  };
  for (const bool force : {true, false}) {
    const Seen seen = CancelEverywhere(scene, force);
    EXPECT_GT(seen.cancelled, 10);
    EXPECT_GT(seen.completed, 3);
  }
}

TEST(CancelAtEveryStep, OfAMirrorSoftly) {
  // Ready is where it rests: steps beyond that do nothing, so the walk is bounded here.
  for (uint64_t k = 0; k < 40; ++k) {
    SCOPED_TRACE(k);
    BareJobWorld world;
    const JobNumber job = world.Start("a", {.pieces = 3, .yields = 2, .has_ready_phase = true});
    world.Step(k);
    const bool was_ready = world.jobs().Query("a")->is_ready;
    ASSERT_TRUE(world.jobs().Cancel("a", /*force=*/false).ok());
    world.Settle();
    EXPECT_EQ(world.StateOf("a"), JobState::kNull);
    EXPECT_EQ(world.trace(job).Count("stage"), was_ready ? 1u : 0u);
  }
}

TEST(CancelAtEveryStep, OfAJobThatPausesAndResumes) {
  const Scene scene = [](BareJobWorld& world) {
    world.Start("a", {.pieces = 3, .in_hook = [&world](std::string_view hook, JobContext&) {
                        if (hook == "run") (void)world.jobs().Pause("a");
                      }});
  };
  // The walk ends where the job rests: paused for good.
  for (uint64_t k = 0; k < 10; ++k) {
    BareJobWorld world;
    scene(world);
    world.Step(k);
    ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
    world.Settle();
    EXPECT_EQ(world.StateOf("a"), JobState::kNull);
    EXPECT_THAT(world.log(), ::testing::Contains(::testing::StartsWith("a: cancelled")));
  }
}

TEST(CancelAtEveryStep, OfAMemberOfATransaction) {
  const Seen seen = CancelEverywhere(
      [](BareJobWorld& world) {
        const auto transaction = world.jobs().NewTransaction();
        world.Create("a", {.pieces = 1, .yields = 2}, {.transaction = transaction});
        world.Create("b", {.pieces = 3, .yields = 2}, {.transaction = transaction});
        world.Run([&]() MILLRACE_NO_ANALYSIS {
          EXPECT_TRUE(world.jobs().CoStart("a").ok());
          EXPECT_TRUE(world.jobs().CoStart("b").ok());
        });
      },
      /*force=*/true);
  EXPECT_GT(seen.cancelled, 15);
  EXPECT_GT(seen.completed, 10);
}

TEST(CancelAtEveryStep, OfAThrottledJob) {
  const Seen seen = CancelEverywhere(
      [](BareJobWorld& world) {
        world.Start("a", {.pieces = 3, .piece_bytes = 1000}, {.speed = 100});
      },
      /*force=*/true);
  EXPECT_GT(seen.cancelled, 8);
}

TEST(Cancel, ASleeperDoesNotSleepOn) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.pieces = 2, .piece_bytes = 1 << 20}, {.speed = 1});
  world.engine().RunUntil([&] { return world.trace(job).pieces_done == 1; });
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kNull);
  EXPECT_EQ(world.engine().clock().Now(), 0);
}

// Soft never undoes force.
TEST(Cancel, SoftAfterForceStaysForce) {
  BareJobWorld world;
  world.Start("a", {.has_ready_phase = true});
  world.Settle();
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  ASSERT_TRUE(world.jobs().Cancel("a", false).ok());
  world.Settle();
  EXPECT_THAT(world.log(), ::testing::Contains("a: cancelled 'Operation canceled' 2/2"));
}

TEST(Cancel, ForceAfterSoftCounts) {
  BareJobWorld world;
  world.Start("a", {.has_ready_phase = true});
  world.Settle();
  ASSERT_TRUE(world.jobs().Cancel("a", false).ok());
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  world.Settle();
  EXPECT_THAT(world.log(), ::testing::Contains("a: cancelled 'Operation canceled' 2/2"));
}

// A job whose own error comes together with a forced cancel says cancelled, as QEMU's does.
TEST(Cancel, ForceHidesTheJobsOwnErrorInTheEventKindOnly) {
  BareJobWorld world;
  world.Start("a", {.idles = true, .run = ErrnoStatus(EIO, "read")});
  world.Settle();
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  world.Settle();
  EXPECT_THAT(world.log(), ::testing::Contains("a: cancelled 'Input/output error' 2/2"));
}

}  // namespace
}  // namespace millrace::job_cancel_test
