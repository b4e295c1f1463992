// Every verb in every state, and the order in which a refusal's reasons are looked for.
#include <cerrno>
#include <optional>
#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/io/io_error.h"
#include "tests/support/job_harness.h"

namespace millrace::job_verbs_test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

std::optional<ConflictReason> ReasonOf(const absl::Status& status) {
  const std::optional<Conflict> conflict = ConflictOf(status);
  return conflict ? std::optional(conflict->reason) : std::nullopt;
}

// Brings job 'a' of the world into a state and leaves it there. A pause is a drain's, so that the
// user's verbs meet a job that the user has not touched.
void Reach(BareJobWorld& world, JobState state) {
  JobManager& jobs = world.jobs();
  switch (state) {
    case JobState::kCreated:
      world.Create("a", {});
      break;
    case JobState::kRunning:
    case JobState::kPaused:
      world.Start("a", {.idles = true});
      break;
    case JobState::kReady:
    case JobState::kStandby:
      world.Start("a", {.has_ready_phase = true});
      break;
    case JobState::kWaiting: {
      const auto transaction = jobs.NewTransaction();
      world.Create("a", {}, {.transaction = transaction});
      world.Create("b", {.idles = true}, {.transaction = transaction});
      world.Run([&]() MILLRACE_NO_ANALYSIS {
        EXPECT_TRUE(jobs.CoStart("a").ok());
        EXPECT_TRUE(jobs.CoStart("b").ok());
      });
      break;
    }
    case JobState::kPending:
      world.Start("a", {}, {.finalizes_automatically = false});
      break;
    case JobState::kAborting:
      world.Start("a", {.yields = 5, .run = ErrnoStatus(EIO, "run")});
      world.engine().RunUntil([&] { return world.StateOf("a") == JobState::kAborting; });
      return;
    case JobState::kConcluded:
      world.Start("a", {}, {.dismisses_automatically = false});
      break;
    case JobState::kNull:
      world.Start("a", {});
      break;
    case JobState::kUndefined:
      FAIL();
  }
  if (state != JobState::kCreated) world.Settle();
  if (state == JobState::kPaused || state == JobState::kStandby) {
    world.trace(jobs.Query("a")->number).quiescable->BeginQuiesce();
    world.Settle();
  }
}

void EndDrain(BareJobWorld& world) {
  const absl::StatusOr<JobInfo> info = world.jobs().Query("a");
  if (info.ok() && info->quiesce_count > 0) world.trace(info->number).quiescable->EndQuiesce();
}

absl::Status Apply(BareJobWorld& world, JobVerb verb) {
  class NoChange final : public JobChange {};
  JobManager& jobs = world.jobs();
  switch (verb) {
    case JobVerb::kCancel:
      return jobs.Cancel("a", /*force=*/false);
    case JobVerb::kPause:
      return jobs.Pause("a");
    case JobVerb::kResume:
      return jobs.Resume("a");
    case JobVerb::kSetSpeed:
      return jobs.SetSpeed("a", 1 << 20);
    case JobVerb::kComplete:
      return jobs.Complete("a");
    case JobVerb::kFinalize:
      return jobs.Finalize("a");
    case JobVerb::kDismiss:
      return jobs.Dismiss("a");
    case JobVerb::kChange:
      return jobs.Change("a", NoChange{});
  }
  return absl::InternalError("no such verb");
}

struct Row {
  JobState state;
  std::string_view accepted;  // in the order of the enum, resume as for a job the user has paused
};

// cancel, pause, resume, set-speed, complete, finalize, dismiss, change
constexpr Row kRows[] = {
    {JobState::kCreated, "yyyynnny"},   {JobState::kRunning, "yyyynnny"},
    {JobState::kPaused, "yyyynnny"},    {JobState::kReady, "yyyyynny"},
    {JobState::kStandby, "yyyyynny"},   {JobState::kWaiting, "ynnnnnnn"},
    {JobState::kPending, "ynnnnynn"},   {JobState::kAborting, "nnnnnnnn"},
    {JobState::kConcluded, "nnnnnnyn"},
};

TEST(JobVerbs, EachInEachState) {
  for (const Row& row : kRows) {
    for (size_t index = 0; index < kJobVerbs; ++index) {
      const auto verb = static_cast<JobVerb>(index);
      SCOPED_TRACE(std::string(JobVerbName(verb)) + " in " + std::string(JobStateName(row.state)));
      BareJobWorld world;
      Reach(world, row.state);
      ASSERT_EQ(world.StateOf("a"), row.state);
      const bool is_accepted = row.accepted[index] == 'y';
      if (verb == JobVerb::kResume && is_accepted) {
        ASSERT_TRUE(world.jobs().Pause("a").ok());
      }
      const absl::Status status = Apply(world, verb);
      EXPECT_EQ(status.ok(), is_accepted) << status;
      if (!is_accepted && verb != JobVerb::kResume) {
        EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
        ASSERT_EQ(ReasonOf(status), ConflictReason::kVerbNotAccepted);
        EXPECT_EQ(ConflictOf(status)->detail,
                  std::string(JobVerbName(verb)) + " " + std::string(JobStateName(row.state)));
      }
      EndDrain(world);
    }
  }
}

TEST(JobVerbs, OfAJobThatIsGoneNameNoJob) {
  for (size_t index = 0; index < kJobVerbs; ++index) {
    BareJobWorld world;
    Reach(world, JobState::kNull);
    const absl::Status status = Apply(world, static_cast<JobVerb>(index));
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(ReasonOf(status), ConflictReason::kUnknownJob);
  }
}

TEST(JobVerbs, SecondUserPauseIsRefused) {
  BareJobWorld world;
  Reach(world, JobState::kRunning);
  EXPECT_TRUE(world.jobs().Pause("a").ok());
  EXPECT_EQ(ReasonOf(world.jobs().Pause("a")), ConflictReason::kAlreadyPaused);
}

// The verb is looked at first: the job is paused by the user as well.
TEST(JobVerbs, PauseAsksTheTableBeforeTheFlag) {
  BareJobWorld world;
  world.Start("a",
              {.pieces = 0,
               .in_hook =
                   [&](std::string_view hook, JobContext&) {
                     if (hook == "run") (void)world.jobs().Pause("a");
                   }},
              {.finalizes_automatically = false});
  world.Settle();
  ASSERT_EQ(world.StateOf("a"), JobState::kPending);
  ASSERT_TRUE(world.jobs().Query("a")->is_paused_by_user);
  EXPECT_EQ(ReasonOf(world.jobs().Pause("a")), ConflictReason::kVerbNotAccepted);
  // And resume the other way round.
  EXPECT_EQ(ReasonOf(world.jobs().Resume("a")), ConflictReason::kVerbNotAccepted);
}

TEST(JobVerbs, ResumeAsksTheFlagBeforeTheTable) {
  BareJobWorld world;
  Reach(world, JobState::kConcluded);
  EXPECT_EQ(ReasonOf(world.jobs().Resume("a")), ConflictReason::kNotPaused);
}

TEST(JobVerbs, ADrainIsNotResumed) {
  BareJobWorld world;
  Reach(world, JobState::kPaused);
  EXPECT_EQ(ReasonOf(world.jobs().Resume("a")), ConflictReason::kNotPaused);
  EndDrain(world);
}

TEST(JobVerbs, SpeedMustNotBeNegative) {
  BareJobWorld world;
  Reach(world, JobState::kRunning);
  const absl::Status status = world.jobs().SetSpeed("a", -1);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(status), ConflictReason::kNegativeSpeed);
  EXPECT_EQ(world.jobs().Query("a")->speed, 0);
}

TEST(JobVerbs, SpeedIsRefusedForItsStateBeforeItsSign) {
  BareJobWorld world;
  Reach(world, JobState::kConcluded);
  EXPECT_EQ(ReasonOf(world.jobs().SetSpeed("a", -1)), ConflictReason::kVerbNotAccepted);
}

TEST(JobVerbs, CompleteNeedsATypeThatCan) {
  BareJobWorld world;
  // Ready, but without a way to be completed.
  class ReadyForEver final : public JobBody {
   public:
    std::string_view type() const override { return "ready-for-ever"; }
    absl::Status CoRun(JobContext& context) MILLRACE_MAY_SUSPEND override {
      context.BecomeReady();
      while (!context.is_cancelled()) context.CoIdle();
      return absl::OkStatus();
    }
  };
  world.Run([&]() MILLRACE_NO_ANALYSIS {
    ASSERT_TRUE(world.jobs().CoCreate({.id = "a"}, std::make_unique<ReadyForEver>()).ok());
    ASSERT_TRUE(world.jobs().CoStart("a").ok());
  });
  world.Settle();
  ASSERT_EQ(world.StateOf("a"), JobState::kReady);
  EXPECT_EQ(ReasonOf(world.jobs().Complete("a")), ConflictReason::kCannotComplete);
  class NoChange final : public JobChange {};
  EXPECT_EQ(ReasonOf(world.jobs().Change("a", NoChange{})), ConflictReason::kChangeUnsupported);
}

TEST(JobVerbs, CompleteIsRefusedAfterASoftCancel) {
  BareJobWorld world;
  Reach(world, JobState::kReady);
  ASSERT_TRUE(world.jobs().Cancel("a", /*force=*/false).ok());
  EXPECT_EQ(ReasonOf(world.jobs().Complete("a")), ConflictReason::kCannotComplete);
}

// Race R65: a complete must not run a job that is parked.
TEST(JobVerbs, CompleteDoesNotWakeAStandbyJob) {
  BareJobWorld world;
  Reach(world, JobState::kStandby);
  world.events().Clear();
  ASSERT_TRUE(world.jobs().Complete("a").ok());
  world.Settle();
  EXPECT_TRUE(world.log().empty());
  EndDrain(world);
  world.Settle();
  EXPECT_THAT(world.log(),
              ElementsAre("a: status ready", "a: status waiting", "a: status pending",
                          "a: completed 2/2", "a: status concluded", "a: status null"));
}

TEST(JobVerbs, CancelOfAUserPausedJobNeedsForce) {
  BareJobWorld world;
  Reach(world, JobState::kRunning);
  ASSERT_TRUE(world.jobs().Pause("a").ok());
  world.Settle();
  EXPECT_EQ(ReasonOf(world.jobs().Cancel("a", false)), ConflictReason::kPausedNeedsForce);
  EXPECT_EQ(world.StateOf("a"), JobState::kPaused);
  EXPECT_TRUE(world.jobs().Cancel("a", true).ok());
}

TEST(JobVerbs, FinalizeIsAcceptedOnce) {
  BareJobWorld world;
  Reach(world, JobState::kPending);
  EXPECT_TRUE(world.jobs().Finalize("a").ok());
  EXPECT_EQ(ReasonOf(world.jobs().Finalize("a")), ConflictReason::kVerbNotAccepted);
}

TEST(JobVerbs, FinalizingShowsAndIsNotStoppedByACancel) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.yields = 5}, {.finalizes_automatically = false});
  world.Settle();
  EXPECT_FALSE(world.jobs().Query("a")->is_finalizing);
  ASSERT_TRUE(world.jobs().Finalize("a").ok());
  world.engine().RunUntil([&] { return world.trace(job).Count("prepare") == 1; });
  EXPECT_EQ(world.StateOf("a"), JobState::kPending);
  EXPECT_TRUE(world.jobs().Query("a")->is_finalizing);
  EXPECT_EQ(ReasonOf(world.jobs().Finalize("a")), ConflictReason::kVerbNotAccepted);
  EXPECT_TRUE(world.jobs().Cancel("a", true).ok());
  EXPECT_TRUE(world.jobs().Query("a")->is_cancel_requested);
  world.Settle();
  EXPECT_THAT(world.log(), Contains("a: completed 2/2"));
  EXPECT_THAT(world.trace(job).calls, Not(Contains("cancel-force")));
}

TEST(JobVerbs, ACancelDuringAFailingFinalizeCounts) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.yields = 5, .prepare = ErrnoStatus(EIO, "prepare")});
  world.engine().RunUntil([&] { return world.trace(job).Count("prepare") == 1; });
  EXPECT_TRUE(world.jobs().Cancel("a", true).ok());
  world.Settle();
  EXPECT_THAT(world.log(), Contains("a: cancelled 'Input/output error' 2/2"));
}

TEST(JobVerbs, RefusalsNameTheJobAndWhatToDoNext) {
  BareJobWorld world;
  Reach(world, JobState::kConcluded);
  const absl::Status status = world.jobs().Cancel("a", true);
  EXPECT_EQ(status.message(),
            "cannot cancel job 'a' in state concluded; query the job and wait for a state that "
            "accepts it");
  const std::optional<Conflict> conflict = ConflictOf(status);
  ASSERT_TRUE(conflict.has_value());
  EXPECT_EQ(conflict->object, "a");
  ASSERT_EQ(conflict->holders.size(), 1u);
  EXPECT_EQ(conflict->holders[0].type, "scripted job");
}

}  // namespace
}  // namespace millrace::job_verbs_test
