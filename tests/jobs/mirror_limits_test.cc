// What a mirror takes of the engine's memory, and of the time of those who drain.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/coroutine/sanitizer.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/drivers/null.h"
#include "tests/jobs/mirror_support.h"

namespace millrace::mirror_limits_test {
namespace {

constexpr uint64_t kDiskBytes = uint64_t{32} << 20;

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

SimulatedIo& IoOf(MirrorWorld& world) { return *world.jobs_world.engine().simulated_io(); }

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
        options.job.spec.finalizes_automatically = false;
        options.buffer_bytes = 2 * TaggedDisk::kSector;
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
        EXPECT_TRUE(world.CoWaitForState("m", JobState::kPending));
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 0, kSectors));
        IoOf(world).SetLatency(kMillisecond);
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

// A pause may last; and who is ready copies only what guests write.
TEST(MirrorLimits, MirrorSharesTheMemoryForCopiesOnlyWhileItCopiesToBecomeReady) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.has_guest = false}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        const GuestLoad& load = world.graph().guest_load();
        IoOf(world).SetLatency(kMillisecond);
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        options.job.spec.speed = 2048;
        options.buffer_bytes = TaggedDisk::kSector;
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        MILLRACE_RETURN_IF_ERROR(CoSleepFor(10 * kMillisecond));
        EXPECT_EQ(load.copiers(), 1u);
        MILLRACE_RETURN_IF_ERROR(world.jobs().Pause("m"));
        EXPECT_TRUE(world.CoWaitForState("m", JobState::kPaused));
        EXPECT_EQ(load.copiers(), 0u) << "paused";
        MILLRACE_RETURN_IF_ERROR(world.jobs().Resume("m"));
        MILLRACE_RETURN_IF_ERROR(CoSleepFor(2 * kSecond));
        EXPECT_EQ(load.copiers(), 1u) << "resumed";
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        EXPECT_EQ(load.copiers(), 0u) << "ready";
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 0, kSectors));
        size_t most = 0;
        for (int i = 0; i < 2000; ++i) {
          MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
          most = std::max(most, load.copiers());
        }
        EXPECT_EQ(most, 0u) << "catching up";
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
        return world.CoWaitUntilOver("m");
      });
}

// ---- Memory that is promised -------------------------------------------------------------------

// Mirrors of disks that answer after a while, all started at once.
struct ManyMirrors {
  size_t mirrors = 1;
  uint64_t disk_bytes = 0;
  int64_t buffer_bytes = 0;
  uint64_t granularity = 0;
};

absl::StatusOr<NodeId> CoAddNull(MirrorWorld& world, std::string name, uint64_t bytes)
    MILLRACE_MAY_SUSPEND {
  return CoAdd(world, std::move(name), MakeNullDriver({.bytes = bytes, .latency = kMillisecond}));
}

// Of the engine's memory, how much was out at most.
struct MemoryOut {
  size_t ever = 0;
  size_t once_settled = 0;  // since all copy, and what the first ones began alone has ended
};

absl::StatusOr<MemoryOut> CoMirrorMany(MirrorWorld& world, const ManyMirrors& many)
    MILLRACE_MAY_SUSPEND {
  std::vector<MirrorOptions> all;
  for (size_t i = 0; i < many.mirrors; ++i) {
    MirrorOptions& options = all.emplace_back();
    options.job.spec.id = StrCat("m", i);
    options.buffer_bytes = many.buffer_bytes;
    options.granularity = many.granularity;
    MILLRACE_ASSIGN_OR_RETURN(options.source,
                              CoAddNull(world, StrCat("source", i), many.disk_bytes));
    MILLRACE_ASSIGN_OR_RETURN(options.target,
                              CoAddNull(world, StrCat("target", i), many.disk_bytes));
  }
  MemoryOut most;
  bool is_over = false;
  TaskScope scope("watch");
  scope.Spawn("watch", [&]() MILLRACE_MAY_SUSPEND {
    int looks_at_all = 0;
    while (!is_over) {
      const size_t out = world.graph().engine().buffers().bytes_out();
      most.ever = std::max(most.ever, out);
      looks_at_all += world.graph().guest_load().copiers() == many.mirrors ? 1 : 0;
      if (looks_at_all > 20) most.once_settled = std::max(most.once_settled, out);
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

MemoryOut MirrorMany(const ManyMirrors& many) {
  MemoryOut most;
  RunOnce([&](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(most, CoMirrorMany(world, many));
    return absl::OkStatus();
  });
  return most;
}

void ExpectTheyFit(const ManyMirrors& many) {
  const MemoryOut most = MirrorMany(many);
  EXPECT_LE(most.ever, BufferPool::Limits().bytes_max / 2) << "guests have the rest";
  EXPECT_GE(most.ever, size_t{32} << 20);
}

TEST(MirrorLimits, ALargeBufferLeavesMemoryToGuests) {
  // As much as no other test copies; with sanitizers no more than the buffer.
  const uint64_t disk_bytes = uint64_t{MILLRACE_ASAN ? 1 : 4} << 30;
  ExpectTheyFit({.mirrors = 1, .disk_bytes = disk_bytes, .buffer_bytes = int64_t{1} << 30});
}

// More would be memory that is faulted in afresh each time (as it is with a sanitizer, so that
// there less is copied).
TEST(MirrorLimits, MirrorsShareTheMemoryThatIsKeptForCopies) {
  const uint64_t disk_bytes = uint64_t{MILLRACE_ASAN ? 96 : 256} << 20;
  for (const size_t mirrors : {5u, 20u}) {
    const MemoryOut most =
        MirrorMany({.mirrors = mirrors, .disk_bytes = disk_bytes, .buffer_bytes = 0});
    EXPECT_LE(most.once_settled, BufferPool::Limits().slabs_max * BufferPool::kSlabBytes)
        << mirrors;
    EXPECT_GE(most.once_settled, size_t{24} << 20) << mirrors;
  }
}

// One granule is more than the share of each.
TEST(MirrorLimits, MirrorWhoseGranulesAreLargerThanItsShareGoesOn) {
  const MemoryOut most = MirrorMany({.mirrors = 60,
                                     .disk_bytes = uint64_t{16} << 20,
                                     .buffer_bytes = 0,
                                     .granularity = uint64_t{1} << 20});
  EXPECT_LE(most.once_settled, size_t{60} << 20);
}

TEST(MirrorLimits, ManyMirrorsThatBeginTogetherLeaveMemoryToGuests) {
  ExpectTheyFit({.mirrors = 100, .disk_bytes = uint64_t{20} << 20, .buffer_bytes = 0});
}

}  // namespace
}  // namespace millrace::mirror_limits_test
