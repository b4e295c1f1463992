// On-error policies: which action, which events, which I/O status.
#include "millrace/engine/job/error_policy.h"

#include <cerrno>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "tests/support/job_harness.h"

namespace millrace::error_policy_test {
namespace {

using ::testing::ElementsAre;

struct Case {
  OnError policy;
  int error_number;
  ErrorAction action;
};

constexpr Case kCases[] = {
    {OnError::kReport, EIO, ErrorAction::kReport},
    {OnError::kReport, ENOSPC, ErrorAction::kReport},
    {OnError::kIgnore, EIO, ErrorAction::kIgnore},
    {OnError::kIgnore, ENOSPC, ErrorAction::kIgnore},
    {OnError::kStop, EIO, ErrorAction::kStop},
    {OnError::kStop, ENOSPC, ErrorAction::kStop},
    {OnError::kEnospc, EIO, ErrorAction::kReport},
    {OnError::kEnospc, ENOSPC, ErrorAction::kStop},
    {OnError::kEnospc, EDQUOT, ErrorAction::kReport},
    {OnError::kAuto, EIO, ErrorAction::kReport},
    {OnError::kAuto, ENOSPC, ErrorAction::kStop},
};

// The second of three pieces fails once.
ScriptedJob::Script FailingOnce(OnError policy, int error_number, std::shared_ptr<int> failures) {
  return {.pieces = 3,
          .io =
              [=](uint64_t piece) {
                if (piece != 1 || (*failures)-- <= 0) return absl::OkStatus();
                return ErrnoStatus(error_number, "write img at 1");
              },
          .on_error = policy,
          .operation = IoOperation::kWrite};
}

TEST(ErrorPolicy, EachPolicyWithEachErrno) {
  for (const Case& each : kCases) {
    SCOPED_TRACE(StrCat(OnErrorName(each.policy), " ", each.error_number));
    BareJobWorld world;
    const JobNumber job =
        world.Start("a", FailingOnce(each.policy, each.error_number, std::make_shared<int>(1)));
    world.Settle();
    const std::string error = StrCat("error in write, ", ErrorActionName(each.action), " '",
                                     ErrnoText(each.error_number), "'");
    const std::string failed = StrCat("completed '", ErrnoText(each.error_number), "' 1/3");
    switch (each.action) {
      case ErrorAction::kReport:
        EXPECT_THAT(world.events().Of("a"),
                    ElementsAre("status created", "status running", error, "status aborting",
                                failed, "status concluded", "status null"));
        break;
      case ErrorAction::kIgnore:
        EXPECT_THAT(
            world.events().Of("a"),
            ElementsAre("status created", "status running", error, "status waiting",
                        "status pending", "completed 3/3", "status concluded", "status null"));
        break;
      case ErrorAction::kStop: {
        EXPECT_THAT(world.events().Of("a"),
                    ElementsAre("status created", "status running", error, "status paused"));
        const JobInfo info = *world.jobs().Query("a");
        EXPECT_TRUE(info.is_paused_by_user);
        EXPECT_EQ(info.io_status,
                  each.error_number == ENOSPC ? JobIoStatus::kNoSpace : JobIoStatus::kFailed);
        ASSERT_TRUE(world.jobs().Resume("a").ok());
        EXPECT_EQ(world.jobs().Query("a")->io_status, JobIoStatus::kOk);
        world.events().Clear();
        world.Settle();
        // The piece is tried again and counted once.
        EXPECT_THAT(world.events().Of("a"),
                    ElementsAre("status running", "status waiting", "status pending",
                                "completed 3/3", "status concluded", "status null"));
        EXPECT_EQ(world.trace(job).pieces_done, 3u);
        EXPECT_EQ(world.trace(job).Count("user-resume"), 1u);
        break;
      }
    }
  }
}

TEST(ErrorPolicy, AnErrorThatStaysStopsTheJobEachTime) {
  BareJobWorld world;
  world.Start("a", FailingOnce(OnError::kStop, EIO, std::make_shared<int>(3)));
  for (int i = 0; i < 3; ++i) {
    world.Settle();
    ASSERT_EQ(world.StateOf("a"), JobState::kPaused) << i;
    ASSERT_TRUE(world.jobs().Resume("a").ok());
  }
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kNull);
}

// Race R63: several requests fail before the job parks; one resume is enough, and the first error
// is the one that shows.
TEST(ErrorPolicy, SeveralErrorsArePausedForOnce) {
  BareJobWorld world;
  world.Start("a", {.pieces = 1, .in_hook = [](std::string_view hook, JobContext& context) {
                      if (hook != "run") return;
                      for (int error : {EIO, ENOSPC, EIO}) {
                        context.HandleError(OnError::kStop, IoOperation::kRead,
                                            ErrnoStatus(error, "read"));
                      }
                    }});
  world.Settle();
  EXPECT_EQ(world.jobs().Query("a")->io_status, JobIoStatus::kFailed);
  ASSERT_TRUE(world.jobs().Resume("a").ok());
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kNull);
}

TEST(ErrorPolicy, AStoppedJobCanBeCancelledByForce) {
  BareJobWorld world;
  world.Start("a", FailingOnce(OnError::kStop, ENOSPC, std::make_shared<int>(1000)));
  world.Settle();
  EXPECT_FALSE(world.jobs().Cancel("a", false).ok());
  ASSERT_TRUE(world.jobs().Cancel("a", true).ok());
  world.Settle();
  EXPECT_EQ(world.StateOf("a"), JobState::kNull);
}

TEST(ErrorPolicy, SpaceIsENOSPCAlone) {
  EXPECT_TRUE(IsOutOfSpace(ErrnoStatus(ENOSPC, "write")));
  EXPECT_FALSE(IsOutOfSpace(ErrnoStatus(EFBIG, "write")));
  EXPECT_FALSE(IsOutOfSpace(ErrnoStatus(EDQUOT, "write")));
  EXPECT_FALSE(IsOutOfSpace(absl::OkStatus()));
}

TEST(JobErrorText, IsTheHostsWordsOrOurOwn) {
  EXPECT_EQ(JobErrorText(absl::OkStatus()), "");
  EXPECT_EQ(JobErrorText(ErrnoStatus(EIO, "read img")), "Input/output error");
  EXPECT_EQ(JobErrorText(absl::CancelledError("cancelled by us")), "Operation canceled");
  EXPECT_EQ(JobErrorText(absl::FailedPreconditionError("sizes differ")), "sizes differ");
}

}  // namespace
}  // namespace millrace::error_policy_test
