// Mirrors whose raw source is opened anew with another length meanwhile. The job goes on with the
// length that it began with, and ends well only if the source has it again.
//
// QEMU 7.2, asked with a raw node of `size` 1 MiB on a longer file, a ready mirror of it to 1 MiB,
// and blockdev-reopen to 2 MiB, or 1 MiB - 512: lets it happen, and block-job-complete moves the
// disk to 1 MiB all the same.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/graph/reopen_nodes.h"
#include "tests/jobs/mirror_below_support.h"

namespace millrace::mirror_length_test {
namespace {

bool IsSizeMismatch(const absl::Status& status) {
  const std::optional<Conflict> conflict = ConflictOf(status);
  return conflict && conflict->reason == ConflictReason::kSizeMismatch;
}

absl::Status CoReopenRaw(MirrorWorld& world, NodeId raw, uint64_t bytes) MILLRACE_MAY_SUSPEND {
  std::vector<NodeChange> changes(1);
  changes[0].node = raw;
  changes[0].fresh = MakeRawDriver({0, bytes});
  return CoReopenNodes(world.graph(), std::move(changes), world.chain.monitor_holder);
}

// A window of kBytes on a file that is twice as long and full of 'b', mirrored and ready.
absl::StatusOr<NodeId> CoStartOnWindow(MirrorWorld& world, MirrorOptions wanted = {})
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const NodeId file, CoAddFile(world, 2 * kBytes));
  MILLRACE_ASSIGN_OR_RETURN(const NodeId raw, CoAddRaw(world, "raw", file, {0, kBytes}));
  MILLRACE_ASSIGN_OR_RETURN(world.chain.guest, Attach(world, raw, world.chain.guest_holder));
  world.chain.nodes = {raw};
  MILLRACE_RETURN_IF_ERROR(CoWriteSectors(world.chain.guest, 0, kSectors, 'b'));
  MILLRACE_ASSIGN_OR_RETURN(const MirrorOptions options, world.CoMirrorToImage());
  wanted.job.spec = options.job.spec;
  wanted.job.spec.finalizes_automatically = false;
  wanted.source = options.source;
  wanted.target = options.target;
  if (wanted.granularity == 0) wanted.granularity = options.granularity;
  MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), wanted).status());
  EXPECT_TRUE(world.CoWaitUntilReady("m"));
  return raw;
}

absl::Status CoCompleteByHand(MirrorWorld& world) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
  EXPECT_TRUE(world.CoWaitForState("m", JobState::kPending));
  MILLRACE_RETURN_IF_ERROR(world.jobs().Finalize("m"));
  return world.CoWaitUntilOver("m");
}

TEST(MirrorLength, AGuestIsNotMovedToATargetThatIsShorterThanItsSourceHasBecome) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId raw, CoStartOnWindow(world));
    MILLRACE_RETURN_IF_ERROR(CoReopenRaw(world, raw, 2 * kBytes));
    MILLRACE_RETURN_IF_ERROR(CoWriteSectors(world.chain.guest, kSectors + 4, 1, 'g'));
    const absl::Status asked = world.jobs().CheckVerb("m", JobVerb::kComplete);
    EXPECT_TRUE(IsSizeMismatch(world.jobs().Complete("m")));
    EXPECT_EQ(asked, world.jobs().Complete("m"));
    EXPECT_EQ(world.StateOf("m"), JobState::kReady);
    // With its former length again it ends as ever.
    MILLRACE_RETURN_IF_ERROR(CoReopenRaw(world, raw, kBytes));
    MILLRACE_RETURN_IF_ERROR(CoWriteSectors(world.chain.guest, 3, 1, 'g'));
    MILLRACE_ASSIGN_OR_RETURN(const std::string before, CoContent(world.chain.guest));
    MILLRACE_RETURN_IF_ERROR(CoCompleteByHand(world));
    EXPECT_EQ(world.Shape(), "t");
    MILLRACE_ASSIGN_OR_RETURN(const std::string after, CoContent(world.chain.guest));
    EXPECT_TRUE(after == before);
    return absl::OkStatus();
  });
}

// The length changes when the job waits for its last word already.
void ExpectNoEndWellWithLength(uint64_t bytes, bool is_completed) {
  MirrorEventLog log;
  const MirrorWorldBody body = [&](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId raw, CoStartOnWindow(world));
    MILLRACE_RETURN_IF_ERROR(is_completed ? world.jobs().Complete("m")
                                          : world.jobs().Cancel("m", false));
    EXPECT_TRUE(world.CoWaitForState("m", JobState::kPending));
    MILLRACE_RETURN_IF_ERROR(CoReopenRaw(world, raw, bytes));
    MILLRACE_RETURN_IF_ERROR(CoWriteSectors(world.chain.guest, bytes / kSector - 1, 1, 'g'));
    world.jobs().Finalize("m").IgnoreError();
    world.CoWaitUntilOver("m").IgnoreError();
    EXPECT_EQ(world.chain.guest.node(), raw) << world.Shape();
    EXPECT_EQ(world.chain.guest.bytes(), bytes);
    char seen = '?';
    MILLRACE_RETURN_IF_ERROR(world.chain.guest.CoRead(bytes - 1, IoVector(&seen, 1)));
    EXPECT_EQ(seen, 'g');
    return absl::OkStatus();
  };
  RunOnce(body, &log);
  ASSERT_NE(log.End(), nullptr);
  EXPECT_TRUE(IsSizeMismatch(log.End()->status)) << log.End()->status;
}

TEST(MirrorLength, ASourceOfAnotherLengthLetsNoPendingMirrorEndWell) {
  for (const bool is_completed : {true, false}) {
    ExpectNoEndWellWithLength(2 * kBytes, is_completed);
    ExpectNoEndWellWithLength(kBytes - kSector, is_completed);
  }
}

// What it has lost is zeroes in the target, half a granule of it perhaps; when the source is longer
// again all is copied anew.
absl::Status CoShrinkAndGrow(MirrorWorld& world, MirrorOptions wanted, uint64_t left)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const NodeId raw, CoStartOnWindow(world, wanted));
  MILLRACE_RETURN_IF_ERROR(CoReopenRaw(world, raw, left * kSector));
  MILLRACE_RETURN_IF_ERROR(CoWriteSectors(world.chain.guest, left - 1, 1, 'g'));
  MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
  EXPECT_EQ(world.StateOf("m"), JobState::kReady);
  MILLRACE_ASSIGN_OR_RETURN(const JobInfo info, world.jobs().Query("m"));
  EXPECT_EQ(info.current, info.total) << "it has not caught up";
  std::string copied(kBytes, '?');
  world.target->content.Read(0, IoVector(copied.data(), copied.size()));
  for (uint64_t sector = left; sector < kSectors; ++sector) {
    if (world.target->map[sector] == MemoryOverlayImage::Cluster::kZero) continue;
    EXPECT_EQ(copied.substr(sector * kSector, kSector), std::string(kSector, '\0')) << sector;
  }
  EXPECT_EQ(copied.substr((left - 1) * kSector, kSector), std::string(kSector, 'g'));
  MILLRACE_RETURN_IF_ERROR(CoReopenRaw(world, raw, kBytes));
  MILLRACE_ASSIGN_OR_RETURN(const std::string before, CoContent(world.chain.guest));
  EXPECT_EQ(before.back(), 'b');
  MILLRACE_RETURN_IF_ERROR(CoCompleteByHand(world));
  MILLRACE_ASSIGN_OR_RETURN(const std::string after, CoContent(world.chain.guest));
  EXPECT_TRUE(after == before);
  return absl::OkStatus();
}

TEST(MirrorLength, WhatASourceThatShrinksShowsNoMoreIsZeroInTheTarget) {
  for (const MirrorCopyMode mode : {MirrorCopyMode::kBackground, MirrorCopyMode::kWriteBlocking}) {
    for (const uint64_t granularity : {kSector, 8 * kSector}) {
      for (const uint64_t left : {kSectors - 1, kSectors / 2, kSectors / 2 - 1}) {
        RunOnce([&](MirrorWorld& world) MILLRACE_MAY_SUSPEND {
          MirrorOptions wanted;
          wanted.copy_mode = mode;
          wanted.granularity = granularity;
          return CoShrinkAndGrow(world, wanted, left);
        });
      }
    }
  }
}

}  // namespace
}  // namespace millrace::mirror_length_test
