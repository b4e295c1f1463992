// What a write-blocking mirror promises each guest: what a write that has returned has written is
// in the target, whoever has copied it, and whatever others do there meanwhile.
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/jobs/mirror_support.h"

namespace millrace {
namespace {

// Whether a sector of the target is what the model of the disk says.
bool TargetHolds(const MirrorWorld& world, uint64_t sector) {
  if (world.target->map[sector] != MemoryOverlayImage::Cluster::kData) return false;
  std::vector<uint8_t> found(TaggedDisk::kSector);
  world.target->content.Read(sector * TaggedDisk::kSector, IoVector(found.data(), found.size()));
  return found == TaggedDisk::Content(sector, world.disk.versions()[sector]);
}

absl::Status CoStartReady(MirrorWorld& world, uint64_t granularity, int64_t buffer_bytes)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
  options.sync = MirrorSync::kNone;
  options.copy_mode = MirrorCopyMode::kWriteBlocking;
  options.granularity = granularity;
  options.buffer_bytes = buffer_bytes;
  MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
  EXPECT_TRUE(world.CoWaitUntilReady("m"));
  static_cast<SimulatedIo&>(world.graph().engine().io()).SetLatency(kMillisecond);
  return absl::OkStatus();
}

absl::Status CoEnd(MirrorWorld& world) MILLRACE_MAY_SUSPEND {
  static_cast<SimulatedIo&>(world.graph().engine().io()).SetLatency(0);
  MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("m", false));
  return world.CoWaitUntilOver("m");
}

// Three guests write to one granule. The first one's copy is on its way when the others mark the
// granule again; then one of these copies for both, and the other one waits for that.
TEST(MirrorGuestCopies, AWriteWaitsForSomebodyElsesCopyThatHasTakenItsMark) {
  MirrorEventLog log;
  RunMirrorOnce({.has_guest = false}, log,
                [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                  MILLRACE_RETURN_IF_ERROR(CoStartReady(world, 4 * TaggedDisk::kSector, 0));
                  TaskScope guests("guests");
                  for (const uint64_t sector : {4u, 5u, 6u}) {
                    guests.Spawn("guest", [&, sector]() MILLRACE_MAY_SUSPEND -> absl::Status {
                      if (sector != 4) MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond / 2));
                      MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, sector, 1));
                      EXPECT_TRUE(TargetHolds(world, sector)) << sector;
                      return absl::OkStatus();
                    });
                  }
                  MILLRACE_RETURN_IF_ERROR(guests.CoJoin());
                  return CoEnd(world);
                });
}

// Others write to the beginning of a long write again and again, while it is copied granule by
// granule: neither do their marks keep it from its end, nor does it return before that.
TEST(MirrorGuestCopies, ALongWriteIsCopiedToItsEndWhileOthersRewriteItsBeginning) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.has_guest = false}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_RETURN_IF_ERROR(CoStartReady(world, TaggedDisk::kSector, TaggedDisk::kSector));
        bool is_over = false;
        uint64_t rewrites = 0;
        TaskScope guests("guests");
        for (uint64_t sector = 0; sector < 4; ++sector) {
          guests.Spawn("rewriter", [&, sector]() MILLRACE_MAY_SUSPEND -> absl::Status {
            MILLRACE_RETURN_IF_ERROR(CoSleepFor(3 * kMillisecond / 2));
            const std::vector<uint8_t> data(TaggedDisk::kSector, 7);
            for (; !is_over; ++rewrites) {
              MILLRACE_RETURN_IF_ERROR(world.chain.guest.CoWrite(
                  sector * TaggedDisk::kSector, IoVector::OfConst(data.data(), data.size())));
            }
            return absl::OkStatus();
          });
        }
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 0, kSectors));
        for (uint64_t sector = 4; sector < kSectors; ++sector) {
          EXPECT_TRUE(TargetHolds(world, sector)) << sector;
        }
        is_over = true;
        EXPECT_GT(rewrites, 4u);
        MILLRACE_RETURN_IF_ERROR(guests.CoJoin());
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 0, kSectors));
        return CoEnd(world);
      });
}

}  // namespace
}  // namespace millrace
