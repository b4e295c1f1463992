// What a mirror takes of the engine's memory, and of the time of those who drain.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/io/buffer_pool.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/drivers/null.h"
#include "tests/jobs/mirror_support.h"

namespace millrace {
namespace {

constexpr uint64_t kDiskBytes = uint64_t{32} << 20;

absl::StatusOr<std::string> CoContent(Attachment& guest) MILLRACE_MAY_SUSPEND {
  std::string content(kDiskBytes, '?');
  MILLRACE_RETURN_IF_ERROR(guest.CoRead(0, IoVector(content.data(), content.size())));
  return content;
}

// A large disk without holes is mirrored with a large buffer, while others have nearly all of the
// engine's memory for I/O.
absl::Status CoMirrorWithLittleMemory(MirrorWorld& world) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(
      world.chain,
      CoMakeMemoryChain(world.graph(),
                        {.layers = 1, .bytes = kDiskBytes, .cluster_bytes = 64 << 10}, false));
  const std::string data(kDiskBytes, 'd');
  MILLRACE_RETURN_IF_ERROR(
      world.chain.guest.CoWrite(0, IoVector::OfConst(data.data(), data.size())));
  const size_t others_bytes = BufferPool::Limits().bytes_max - (1 << 20);
  MILLRACE_ASSIGN_OR_RETURN(const IoBuffer others,
                            world.graph().engine().buffers().TryTake(others_bytes, "others"));
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage(kDiskBytes));
  options.granularity = 64 << 10;
  options.buffer_bytes = int64_t{1} << 35;
  MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
  EXPECT_TRUE(world.CoWaitUntilReady("m"));
  MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
  MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
  MILLRACE_ASSIGN_OR_RETURN(const std::string content, CoContent(world.chain.guest));
  EXPECT_TRUE(content == data);
  return absl::OkStatus();
}

TEST(MirrorLimits, GoesOnWithLittleMemoryWhileOthersHaveTheRest) {
  RunOnce(CoMirrorWithLittleMemory);
}

size_t CountHeld(const MirrorWorld& world) {
  size_t held = 0;
  for (uint64_t sector = 0; sector < kSectors; ++sector) {
    std::vector<uint8_t> found(TaggedDisk::kSector);
    world.target->content.Read(sector * TaggedDisk::kSector, IoVector(found.data(), found.size()));
    held += found == TaggedDisk::Content(sector, world.disk.versions()[sector]) ? 1 : 0;
  }
  return held;
}

// The guest has written everything anew while the job waited to be finalized. Who drains then
// does not wait until all of that is copied.
TEST(MirrorLimits, ADrainDoesNotWaitForAllThatWasWrittenWhileTheJobWasPending) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.has_guest = false}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        options.spec.finalizes_automatically = false;
        options.buffer_bytes = 2 * TaggedDisk::kSector;
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
        EXPECT_TRUE(world.CoWaitForState("m", JobState::kPending));
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 0, kSectors));
        static_cast<SimulatedIo&>(world.graph().engine().io()).SetLatency(kMillisecond);
        MILLRACE_RETURN_IF_ERROR(world.jobs().Finalize("m"));
        MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
        {
          MILLRACE_ASSIGN_OR_RETURN(
              const DrainedSection drained,
              DrainedSection::CoBegin(world.graph(), {world.chain.top()}, {}));
          EXPECT_LT(CountHeld(world), kSectors / 2);
        }
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
        EXPECT_EQ(CountHeld(world), kSectors);
        return absl::OkStatus();
      });
}

// ---- Memory that is promised -------------------------------------------------------------------

// Mirrors of disks that answer after a while, all started at once.
struct ManyMirrors {
  size_t mirrors = 1;
  uint64_t disk_bytes = 0;
  int64_t buffer_bytes = 0;
};

absl::StatusOr<NodeId> CoAddNull(MirrorWorld& world, std::string name, uint64_t bytes)
    MILLRACE_MAY_SUSPEND {
  return CoAdd(world, std::move(name), MakeNullDriver({.bytes = bytes, .latency = kMillisecond}));
}

// Returns how much of the engine's memory was out at most.
absl::StatusOr<size_t> CoMirrorMany(MirrorWorld& world, const ManyMirrors& many)
    MILLRACE_MAY_SUSPEND {
  std::vector<MirrorOptions> all;
  for (size_t i = 0; i < many.mirrors; ++i) {
    MirrorOptions& options = all.emplace_back();
    options.spec.id = StrCat("m", i);
    options.buffer_bytes = many.buffer_bytes;
    MILLRACE_ASSIGN_OR_RETURN(options.source,
                              CoAddNull(world, StrCat("source", i), many.disk_bytes));
    MILLRACE_ASSIGN_OR_RETURN(options.target,
                              CoAddNull(world, StrCat("target", i), many.disk_bytes));
  }
  size_t most = 0;
  bool is_over = false;
  TaskScope scope("watch");
  scope.Spawn("watch", [&]() MILLRACE_MAY_SUSPEND {
    while (!is_over) {
      most = std::max(most, world.graph().engine().buffers().bytes_out());
      CoSleepFor(kMillisecond / 2).IgnoreError();
    }
    return absl::OkStatus();
  });
  for (const MirrorOptions& options : all) {
    MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
  }
  for (size_t i = 0; i < many.mirrors; ++i) {
    EXPECT_TRUE(world.CoWaitUntilReady(StrCat("m", i))) << i;
  }
  is_over = true;
  MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
  return most;
}

void ExpectTheyFit(const ManyMirrors& many) {
  RunOnce([&](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const size_t most, CoMirrorMany(world, many));
    EXPECT_LE(most, BufferPool::Limits().bytes_max / 2) << "guests have the rest";
    EXPECT_GE(most, size_t{128} << 20);
    return absl::OkStatus();
  });
}

TEST(MirrorLimits, ALargeBufferLeavesMemoryToGuests) {
  ExpectTheyFit({.mirrors = 1, .disk_bytes = uint64_t{4} << 30, .buffer_bytes = int64_t{1} << 30});
}

TEST(MirrorLimits, ManyMirrorsThatBeginTogetherLeaveMemoryToGuests) {
  ExpectTheyFit({.mirrors = 100, .disk_bytes = uint64_t{20} << 20, .buffer_bytes = 0});
}

}  // namespace
}  // namespace millrace
