// Races of the mirror's copying, each set up by hand: what a piece in flight and a write do to each
// other, and what the last copies owe the guest.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/sync/event.h"
#include "tests/jobs/mirror_support.h"

namespace millrace::mirror_races_test {
namespace {

// Hold the first two writes back, each until it is let go.
struct HeldWrites {
  Event first{"release of the first write"};
  Event second{"release of the second write"};
};

class HoldFilter final : public FilterDriver {
 public:
  explicit HoldFilter(HeldWrites& held) : held_(held) {}
  std::string_view driver_name() const override { return "hold"; }
  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND {
    const int number = ++writes_;
    if (number == 1) held_.first.CoWait();
    if (number == 2) held_.second.CoWait();
    return FilterDriver::CoWrite(offset, source, flags);
  }

 private:
  HeldWrites& held_;
  int writes_ = 0;
};

// A ready mirror that copies only what is written, to "t" below a filter that holds its first
// two writes.
absl::Status CoStartHeldMirror(MirrorWorld& world, HeldWrites& held) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
  MILLRACE_ASSIGN_OR_RETURN(options.target, CoAdd(world, "hold", std::make_unique<HoldFilter>(held),
                                                  {{Role::kFiltered, options.target}}));
  options.sync = MirrorSync::kNone;
  MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
  EXPECT_TRUE(world.CoWaitUntilReady("m"));
  return absl::OkStatus();
}

// What the target has at a sector is what the guest reads there.
void CoExpectSame(MirrorWorld& world, uint64_t sector) MILLRACE_MAY_SUSPEND {
  const uint64_t offset = sector * TaggedDisk::kSector;
  std::vector<uint8_t> seen(TaggedDisk::kSector, 1);
  std::vector<uint8_t> copied(TaggedDisk::kSector, 2);
  EXPECT_TRUE(world.chain.guest.CoRead(offset, IoVector(seen.data(), seen.size())).ok());
  EXPECT_EQ(world.target->map[sector], MemoryOverlayImage::Cluster::kData);
  world.target->content.Read(offset, IoVector(copied.data(), copied.size()));
  EXPECT_EQ(seen, copied);
}

// Two copies are on their way, of sectors 5 and 9, and held.
absl::Status CoHoldTwoPieces(MirrorWorld& world, HeldWrites& held) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoStartHeldMirror(world, held));
  MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 5, 1));
  MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 9, 1));
  return CoSleepFor(kSecond);
}

// Two copies of one place must not be under way at once: the older one could land last.
TEST(MirrorRaces, APlaceThatIsWrittenAgainWhileItIsCopiedWaitsForThatCopy) {
  MirrorEventLog log;
  RunMirrorOnce({.has_guest = false}, log,
                [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                  HeldWrites held;
                  MILLRACE_RETURN_IF_ERROR(CoHoldTwoPieces(world, held));
                  MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 5, 1));
                  // The end of one piece makes the job look for the next.
                  held.second.Set();
                  MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
                  held.first.Set();
                  MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
                  CoExpectSame(world, 5);
                  CoExpectSame(world, 9);
                  return absl::OkStatus();
                });
}

// J2: standby means that nothing is in flight.
TEST(MirrorRaces, PauseWaitsForThePiecesInFlight) {
  MirrorEventLog log;
  RunMirrorOnce({.has_guest = false}, log,
                [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                  HeldWrites held;
                  MILLRACE_RETURN_IF_ERROR(CoHoldTwoPieces(world, held));
                  MILLRACE_RETURN_IF_ERROR(world.jobs().Pause("m"));
                  held.second.Set();
                  MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
                  EXPECT_EQ(world.StateOf("m"), JobState::kReady);
                  held.first.Set();
                  MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
                  EXPECT_EQ(world.StateOf("m"), JobState::kStandby);
                  MILLRACE_RETURN_IF_ERROR(world.jobs().Resume("m"));
                  MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
                  CoExpectSame(world, 5);
                  CoExpectSame(world, 9);
                  return absl::OkStatus();
                });
}

// A guest's write that fails may have changed the disk all the same.
TEST(MirrorRaces, AWriteThatFailedAfterItsEffectIsCopied) {
  MirrorEventLog log;
  RunMirrorOnce({.has_guest = false}, log,
                [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                  HeldWrites held;
                  held.first.Set();
                  held.second.Set();
                  MILLRACE_RETURN_IF_ERROR(CoStartHeldMirror(world, held));
                  SimulatedIo& io = *world.jobs_world.engine().simulated_io();
                  io.Fail({.path = "n3", .nth = 1, .is_after_effect = true});
                  const std::vector<uint8_t> data(TaggedDisk::kSector, 'x');
                  EXPECT_FALSE(world.chain.guest
                                   .CoWrite(3 * TaggedDisk::kSector,
                                            IoVector::OfConst(data.data(), data.size()))
                                   .ok());
                  MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
                  CoExpectSame(world, 3);
                  // The model has not heard of that write; make it good again.
                  return world.disk.CoWrite(world.chain.guest, 3, 1);
                });
}

// What cannot be copied in the section ends the job, not the guest's data.
TEST(MirrorRaces, AnErrorOfTheLastCopiesEndsTheJobWithoutAPivot) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.has_guest = false}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        options.job.spec.finalizes_automatically = false;
        options.on_target_error = OnError::kIgnore;
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
        EXPECT_TRUE(world.CoWaitForState("m", JobState::kPending));
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 5, 1));
        // Whoever tries again fails again; then all is well, a flush for one.
        SimulatedIo& io = *world.jobs_world.engine().simulated_io();
        io.Fail({.path = "t", .nth = 1});
        io.Fail({.path = "t", .nth = 2});
        MILLRACE_RETURN_IF_ERROR(world.jobs().Finalize("m"));
        world.CoWaitUntilOver("m").IgnoreError();
        EXPECT_EQ(world.Shape(), "n3 <- n2 <- n1 <- n0");
        return absl::OkStatus();
      });
  ASSERT_NE(log.End(), nullptr);
  EXPECT_EQ(log.End()->error, "Input/output error");
}

// What no image of the source has reads as zeroes; an old target has something else there.
TEST(MirrorRaces, AFullMirrorZeroesWhatTheSourceDoesNotHave) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.layers = 1, .has_guest = false}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        TaggedDisk hidden(kSectors);
        for (uint64_t i = 0; i < kSectors; ++i) hidden.Put(*world.target, i);
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        EXPECT_TRUE(MirrorGuest::Holds(*world.target, world.disk.versions()));
        return absl::OkStatus();
      });
}

// Looking at a source's map takes time, too, and what is written meanwhile must not be missed.
TEST(MirrorRaces, AChangeBetweenTheLookAtTheMapAndTheCopyIsNotLost) {
  ExploreMirror(
      {.layers = 2, .map_takes_step = true},
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        // Zeroes that the lower image says, so that the answer takes two looks.
        for (MemoryOverlayImage::Cluster& cluster : world.chain.images[0]->map) {
          if (cluster != MemoryOverlayImage::Cluster::kUnallocated) continue;
          cluster = MemoryOverlayImage::Cluster::kZero;
        }
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
        EXPECT_EQ(world.Shape(), "t");
        return absl::OkStatus();
      });
}

}  // namespace
}  // namespace millrace::mirror_races_test
