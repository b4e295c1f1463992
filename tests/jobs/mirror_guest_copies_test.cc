// What a write-blocking mirror promises each guest: what a write that has returned has written is
// in the target, whoever has copied it, and whatever others do there meanwhile.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/io/buffer_pool.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/condition.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/jobs/mirror_support.h"

namespace millrace::mirror_guest_copies_test {
namespace {

// Whether a sector of the target is what the model of the disk says.
bool TargetHolds(const MirrorWorld& world, uint64_t sector) {
  if (world.target->map[sector] != MemoryOverlayImage::Cluster::kData) return false;
  std::vector<uint8_t> found(TaggedDisk::kSector);
  world.target->content.Read(sector * TaggedDisk::kSector, IoVector(found.data(), found.size()));
  return found == TaggedDisk::Content(sector, world.disk.versions()[sector]);
}

absl::Status CoStartReady(MirrorWorld& world, uint64_t granularity, int64_t buffer_bytes,
                          OnError on_target_error = OnError::kReport) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
  options.sync = MirrorSync::kNone;
  options.copy_mode = MirrorCopyMode::kWriteBlocking;
  options.granularity = granularity;
  options.buffer_bytes = buffer_bytes;
  options.on_target_error = on_target_error;
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

// Stands on a target: holds what is written there until the test lets it pass, and knows what a
// power failure could take.
class WatchedTarget final : public FilterDriver {
 public:
  struct Log {
    Condition changed{"watched target"};
    std::set<uint64_t> held;  // writes of these sectors wait
    uint64_t waiting = 0;
    uint64_t ended = 0;
    uint64_t durable = 0;  // of those that had ended when the last flush began

    void LetPass(uint64_t sector) {
      held.erase(sector);
      changed.Notify();
    }
  };
  explicit WatchedTarget(Log& log) : log_(log) {}
  std::string_view driver_name() const override { return "watched"; }

  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND {
    CoPass(ByteRange(offset, source.bytes()));
    absl::Status status = FilterDriver::CoWrite(offset, source, flags);
    ++log_.ended;
    return status;
  }
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND {
    CoPass(range);
    absl::Status status = FilterDriver::CoWriteZeroes(range, flags);
    ++log_.ended;
    return status;
  }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND {
    const uint64_t covered = log_.ended;
    MILLRACE_RETURN_IF_ERROR(FilterDriver::CoFlush());
    log_.durable = covered;
    return absl::OkStatus();
  }

 private:
  void CoPass(ByteRange range) MILLRACE_MAY_SUSPEND {
    ++log_.waiting;
    log_.changed.CoWaitUntil([&] {
      const auto next = log_.held.lower_bound(range.offset / TaggedDisk::kSector);
      return next == log_.held.end() || *next * TaggedDisk::kSector >= range.end();
    });
    --log_.waiting;
  }

  Log& log_;
};

// The guest's own copy is on its way to the target while the job, which has nothing left to copy,
// flushes that and becomes ready. The copy lands behind the flush; then the disk moves, and what
// the guest has flushed on its old disk must be as safe on the new one.
absl::Status CoMoveWhileAGuestsCopyMeetsTheFlush(MirrorWorld& world, WatchedTarget::Log& log,
                                                 bool zeroes) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
  MILLRACE_ASSIGN_OR_RETURN(options.target,
                            CoAdd(world, "watched", std::make_unique<WatchedTarget>(log),
                                  {{Role::kFiltered, options.target}}));
  options.copy_mode = MirrorCopyMode::kWriteBlocking;
  options.buffer_bytes = kBytes / 2;  // so that no piece is over both sectors
  constexpr uint64_t kGuests = 3;
  constexpr uint64_t kLast = kSectors - 1;
  log.held = {kLast};
  MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
  // Time passes when nobody has anything to do: all is copied but the last piece.
  MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  EXPECT_EQ(log.waiting, 1u);
  log.held.insert(kGuests);
  TaskScope guests("guests");
  guests.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    if (zeroes) return world.disk.CoZero(world.chain.guest, kGuests, 1, false);
    return world.disk.CoWrite(world.chain.guest, kGuests, 1);
  });
  MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  EXPECT_EQ(log.waiting, 2u) << "the guest does not copy";
  log.LetPass(kLast);
  EXPECT_TRUE(world.CoWaitUntilReady("m"));
  EXPECT_EQ(log.waiting, 1u) << "the guest's copy has not met the flush";
  EXPECT_EQ(log.durable, log.ended);
  log.LetPass(kGuests);
  MILLRACE_RETURN_IF_ERROR(guests.CoJoin());
  MILLRACE_RETURN_IF_ERROR(world.chain.guest.CoFlush());
  MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
  MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
  EXPECT_EQ(world.chain.guest.node(), options.target) << world.Shape();
  EXPECT_EQ(log.durable, log.ended) << "the disk has moved to what power failure may take";
  return absl::OkStatus();
}

TEST(MirrorGuestCopies, AWriteThatLandsBehindTheJobsFlushIsFlushedBeforeTheDiskMoves) {
  MirrorEventLog events;
  WatchedTarget::Log log;
  RunMirrorOnce({.has_guest = false}, events,
                [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND {
                  return CoMoveWhileAGuestsCopyMeetsTheFlush(world, log, false);
                });
}

TEST(MirrorGuestCopies, ZeroesThatLandBehindTheJobsFlushAreFlushedBeforeTheDiskMoves) {
  MirrorEventLog events;
  WatchedTarget::Log log;
  RunMirrorOnce({.has_guest = false}, events,
                [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND {
                  return CoMoveWhileAGuestsCopyMeetsTheFlush(world, log, true);
                });
}

// ---- Memory ------------------------------------------------------------------------------------

// Guests write to many granules at once, each of which is copied whole, while others have nearly
// all of the engine's memory for I/O: neither do their copies fail for want of it, nor does what
// else is done with it.
absl::Status CoWriteManyWithLittleMemory(MirrorWorld& world) MILLRACE_MAY_SUSPEND {
  constexpr uint64_t kGranularity = 64 << 10;
  constexpr uint64_t kGuests = 40;
  constexpr uint64_t kLeft = 16 * kGranularity;
  MILLRACE_ASSIGN_OR_RETURN(
      world.chain,
      CoMakeMemoryChain(world.graph(),
                        {.layers = 1, .bytes = kGuests * kGranularity, .cluster_bytes = 4096},
                        false));
  const std::string old(kGuests * kGranularity, 'o');
  MILLRACE_RETURN_IF_ERROR(world.chain.guest.CoWrite(0, IoVector::OfConst(old.data(), old.size())));
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage(kGuests * kGranularity));
  options.copy_mode = MirrorCopyMode::kWriteBlocking;
  options.granularity = kGranularity;
  MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
  EXPECT_TRUE(world.CoWaitUntilReady("m"));
  BufferPool& buffers = world.graph().engine().buffers();
  MILLRACE_ASSIGN_OR_RETURN(const IoBuffer others,
                            buffers.TryTake(BufferPool::Limits().bytes_max - kLeft, "others"));
  static_cast<SimulatedIo&>(world.graph().engine().io()).SetLatency(kMillisecond);
  size_t most = 0;
  TaskScope guests("guests");
  for (uint64_t number = 0; number < kGuests; ++number) {
    guests.Spawn("guest", [&, number]() MILLRACE_MAY_SUSPEND -> absl::Status {
      const char byte = static_cast<char>('A' + number % 26);
      const std::string data(TaggedDisk::kSector, byte);
      const uint64_t offset = number * kGranularity;
      MILLRACE_RETURN_IF_ERROR(
          world.chain.guest.CoWrite(offset, IoVector::OfConst(data.data(), data.size())));
      most = std::max(most, buffers.bytes_out());
      char copied[2] = {};
      world.target->content.Read(offset + TaggedDisk::kSector - 1, IoVector(copied, 2));
      EXPECT_EQ(copied[0], byte) << number;
      EXPECT_EQ(copied[1], 'o') << number;
      return absl::OkStatus();
    });
  }
  MILLRACE_RETURN_IF_ERROR(guests.CoJoin());
  EXPECT_LE(most, BufferPool::Limits().bytes_max - kLeft / 2);
  EXPECT_EQ(world.StateOf("m"), JobState::kReady);
  return CoEnd(world);
}

TEST(MirrorGuestCopies, WaitForMemoryWhileOthersHaveIt) {
  MirrorEventLog log;
  RunOnce(CoWriteManyWithLittleMemory, &log);
  EXPECT_EQ(log.Count(JobEventKind::kError), 0u);
  ASSERT_NE(log.End(), nullptr);
  EXPECT_TRUE(log.End()->status.ok()) << log.End()->status;
}

// ---- What fails, and what is counted -------------------------------------------------------------

// The job is ready and asleep when a guest's copy fails; the guest's write does not.
absl::Status CoWriteOneThatIsNotCopied(MirrorWorld& world, OnError on_target_error)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoStartReady(world, TaggedDisk::kSector, 0, on_target_error));
  MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
  static_cast<SimulatedIo&>(world.graph().engine().io()).Fail({.path = "t"});
  MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 4, 1));
  return CoSleepFor(kSecond);
}

TEST(MirrorGuestCopies, AFailedOneThatIsReportedEndsAReadyJob) {
  MirrorEventLog log;
  RunMirrorOnce({.has_guest = false}, log,
                [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                  MILLRACE_RETURN_IF_ERROR(CoWriteOneThatIsNotCopied(world, OnError::kReport));
                  EXPECT_EQ(world.StateOf("m"), JobState::kNull);
                  EXPECT_TRUE(log.End() != nullptr && !log.End()->error.empty());
                  return absl::OkStatus();
                });
}

TEST(MirrorGuestCopies, AFailedOneThatIsIgnoredIsTriedAgainByAReadyJob) {
  MirrorEventLog log;
  RunMirrorOnce({.has_guest = false}, log,
                [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                  MILLRACE_RETURN_IF_ERROR(CoWriteOneThatIsNotCopied(world, OnError::kIgnore));
                  EXPECT_EQ(world.StateOf("m"), JobState::kReady);
                  EXPECT_TRUE(TargetHolds(world, 4));
                  return CoEnd(world);
                });
}

// As QEMU counts: what the guest has written, not the granules that were copied for it.
TEST(MirrorGuestCopies, CountAsWorkThatComesAndIsDone) {
  MirrorEventLog log;
  RunMirrorOnce({.has_guest = false}, log,
                [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                  MILLRACE_RETURN_IF_ERROR(CoStartReady(world, 4 * TaggedDisk::kSector, 0));
                  MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 5, 1));
                  MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 2, 4));
                  MILLRACE_ASSIGN_OR_RETURN(const JobInfo info, world.jobs().Query("m"));
                  EXPECT_EQ(info.current, 5 * TaggedDisk::kSector);
                  EXPECT_EQ(info.total, 5 * TaggedDisk::kSector);
                  return CoEnd(world);
                });
}

}  // namespace
}  // namespace millrace::mirror_guest_copies_test
