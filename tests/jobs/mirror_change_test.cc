// What of a mirror changes while it runs: its copy mode. And what its user knows of the target.
#include <memory>
#include <optional>

#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/jobs/mirror_support.h"

namespace millrace::mirror_change_test {
namespace {

// What a mirror tells of itself; nothing of a job that tells nothing of this kind.
std::optional<bool> IsActivelySynced(MirrorWorld& world) {
  const absl::StatusOr<JobInfo> info = world.jobs().Query("m");
  if (!info.ok()) return std::nullopt;
  for (const JobFigure& figure : info->figures) {
    if (figure.name == "actively-synced") return figure.value != 0;
  }
  return std::nullopt;
}

absl::Status SetPermissions(Graph& graph, const Attachment& user, Permissions permissions)
    MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  change.SetPermissions(user, permissions);
  return change.Commit().status();
}

MirrorChange ChangeTo(MirrorCopyMode mode) {
  MirrorChange change;
  change.copy_mode = mode;
  return change;
}

TEST(MirrorChange, ChangedToWriteBlockingWritesTheTargetBeforeTheGuestGoesOn) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.has_guest = false}, log,
      [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        const auto is_copied = [&world](uint64_t sector) {
          return world.target->map[sector] == MemoryOverlayImage::Cluster::kData;
        };
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        options.sync = MirrorSync::kNone;
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 5, 1));
        EXPECT_FALSE(is_copied(5));
        EXPECT_EQ(IsActivelySynced(world), false);
        MILLRACE_RETURN_IF_ERROR(world.jobs().Change("m", ChangeTo(MirrorCopyMode::kBackground)));
        MILLRACE_RETURN_IF_ERROR(
            world.jobs().Change("m", ChangeTo(MirrorCopyMode::kWriteBlocking)));
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 8, 1));
        EXPECT_TRUE(is_copied(8));
        while (IsActivelySynced(world) == false) {
          MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
        }
        EXPECT_TRUE(is_copied(5));
        const absl::Status back = world.jobs().Change("m", ChangeTo(MirrorCopyMode::kBackground));
        EXPECT_EQ(ConflictOf(back)->reason, ConflictReason::kChangeUnsupported);
        MILLRACE_RETURN_IF_ERROR(world.jobs().Pause("m"));
        EXPECT_TRUE(world.CoWaitForState("m", JobState::kStandby));
        EXPECT_EQ(IsActivelySynced(world), false);
        MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("m", true));
        EXPECT_TRUE(absl::IsCancelled(world.CoWaitUntilOver("m")));
        return absl::OkStatus();
      });
}

// A mirror in write-blocking mode that copies nothing but what is written; it is synced.
absl::Status CoStartSynced(MirrorWorld& world, MirrorOptions options) MILLRACE_MAY_SUSPEND {
  options.sync = MirrorSync::kNone;
  options.copy_mode = MirrorCopyMode::kWriteBlocking;
  MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
  EXPECT_TRUE(world.CoWaitUntilReady("m"));
  while (IsActivelySynced(world) == false) {
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  }
  return absl::OkStatus();
}

TEST(MirrorChange, OneThatWaitsToBeFinalizedIsSyncedNoLonger) {
  MirrorEventLog log;
  RunMirrorOnce({.has_guest = false}, log,
                [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
                  options.job.spec.finalizes_automatically = false;
                  options.backing = MirrorBacking::kOfSource;
                  MILLRACE_RETURN_IF_ERROR(CoStartSynced(world, options));
                  MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
                  EXPECT_TRUE(world.CoWaitForState("m", JobState::kPending));
                  MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 5, 1));
                  EXPECT_NE(world.target->map[5], MemoryOverlayImage::Cluster::kData);
                  EXPECT_EQ(IsActivelySynced(world), false);
                  MILLRACE_RETURN_IF_ERROR(world.jobs().Finalize("m"));
                  return world.CoWaitUntilOver("m");
                });
}

// What somebody writes below the filter is copied by the job itself, which fails.
TEST(MirrorChange, OneThatIgnoresAnErrorIsNotSyncedUntilAllIsCopied) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.has_guest = false}, log,
      [&log](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        constexpr Permissions kShared = {kConsistentRead | kWrite, kAllPermissions - kResize};
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        options.on_target_error = OnError::kIgnore;
        MILLRACE_RETURN_IF_ERROR(SetPermissions(world.graph(), world.chain.guest, kShared));
        MILLRACE_RETURN_IF_ERROR(CoStartSynced(world, options));
        MILLRACE_ASSIGN_OR_RETURN(
            Attachment other,
            Attachment::Attach(world.graph(), world.chain.top(),
                               {.holder = MakeHolder("other", "export"), .permissions = kShared}));
        world.jobs_world.engine().simulated_io()->Fail({.path = "t"});
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(other, 5, 1));
        while (log.Count(JobEventKind::kError) == 0) {
          MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
        }
        EXPECT_EQ(IsActivelySynced(world), false);
        MILLRACE_RETURN_IF_ERROR(CoSleepFor(2 * kSecond));
        EXPECT_EQ(world.target->map[5], MemoryOverlayImage::Cluster::kData);
        EXPECT_EQ(IsActivelySynced(world), true);
        other.CoDetach();
        MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("m", false));
        return world.CoWaitUntilOver("m");
      });
}

// Zeroing the target and the search for what is allocated come before any copy, of guests' writes
// as well: what was copied earlier would be zeroed.
TEST(MirrorChange, ChangedToWriteBlockingAtAnyTimeEndsAsAnyOtherMirrorUnderEveryOrder) {
  ExploreMirror({}, [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const MirrorOptions options, world.CoMirrorToImage());
    MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
    MILLRACE_RETURN_IF_ERROR(world.jobs().Change("m", ChangeTo(MirrorCopyMode::kWriteBlocking)));
    EXPECT_TRUE(world.CoWaitUntilReady("m"));
    MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
    EXPECT_EQ(world.Shape(), "t");
    return absl::OkStatus();
  });
}

TEST(MirrorChange, AnActiveCommitHasNoCopyModeThatChanges) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.has_guest = false}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        CommitOptions options = ActiveCommit(world, 0);
        options.job.spec.id = "m";
        MILLRACE_RETURN_IF_ERROR(CoStartCommit(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        EXPECT_EQ(IsActivelySynced(world), std::nullopt);
        const absl::Status refused =
            world.jobs().Change("m", ChangeTo(MirrorCopyMode::kWriteBlocking));
        EXPECT_EQ(ConflictOf(refused)->reason, ConflictReason::kChangeUnsupported);
        MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("m", false));
        return world.CoWaitUntilOver("m");
      });
}

// Nothing of an empty source is copied; what a target holds before is zeroed.
TEST(MirrorChange, ATargetThatIsSaidToBeZeroIsNotZeroed) {
  for (const bool is_zero : {false, true}) {
    MirrorEventLog log;
    RunMirrorOnce(
        {.has_guest = false}, log,
        [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
          MILLRACE_ASSIGN_OR_RETURN(
              options.source,
              world.CoAddImage("s", std::make_shared<MemoryOverlayImage>(kBytes, 512)));
          options.target_is_zero = is_zero;
          // What the client says is not so: it shows whether somebody has zeroed it.
          world.target->map[7] = MemoryOverlayImage::Cluster::kData;
          MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
          EXPECT_TRUE(world.CoWaitUntilReady("m"));
          EXPECT_EQ(world.target->map[7] == MemoryOverlayImage::Cluster::kData, is_zero);
          MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("m", false));
          return world.CoWaitUntilOver("m");
        });
  }
}

}  // namespace
}  // namespace millrace::mirror_change_test
