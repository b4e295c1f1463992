// Mirrors and active commits, with a guest that writes in every phase.
#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/io/simulated_io.h"
#include "millrace/jobs/mirror/mirror_filter.h"
#include "tests/jobs/mirror_support.h"

namespace millrace::mirror_test {
namespace {

TEST(MirrorFilter, SaysHowManyPartsAreToBeCopiedAgain) {
  const auto changes = std::make_shared<MirrorChanges>(4096, 512);
  const std::unique_ptr<FilterDriver> filter = MakeMirrorFilter(changes, false);
  EXPECT_EQ(filter->state_in_words(), "0 marks");
  changes->Mark(ByteRange(512, 1));
  EXPECT_EQ(filter->state_in_words(), "1 mark");
  changes->Mark(ByteRange(3000, 1096));
  EXPECT_EQ(filter->state_in_words(), "4 marks");
  changes->bitmap().Reset(ByteRange(512, 512));
  EXPECT_EQ(filter->state_in_words(), "3 marks");
  changes->Stop();
  EXPECT_EQ(filter->state_in_words(), "marks nothing any more");
}

// ---- Active commit -----------------------------------------------------------------------------

TEST(ActiveCommit, CompletesByPuttingTheGuestOnTheBase) {
  ExploreMirror({.layers = 5},
                [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                  MILLRACE_RETURN_IF_ERROR(
                      CoStartCommit(world.graph(), world.jobs(), ActiveCommit(world, 1)).status());
                  EXPECT_TRUE(world.CoWaitUntilReady("c"));
                  MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("c"));
                  MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("c"));
                  EXPECT_EQ(world.Shape(), "n1 <- n0");
                  EXPECT_EQ(world.graph().node_count(), 2u);
                  EXPECT_FALSE(world.IsReadOnly(world.chain.nodes[1]));
                  // The new top goes on as one: the guest writes to it.
                  return CoSleepFor(50 * kMillisecond);
                });
}

TEST(ActiveCommit, SoftCancelLeavesTheBaseAsTheDiskWasAtThatMoment) {
  ExploreMirror({},
                [](MirrorWorld& world, MirrorGuest& guest) MILLRACE_MAY_SUSPEND -> absl::Status {
                  MILLRACE_RETURN_IF_ERROR(
                      CoStartCommit(world.graph(), world.jobs(), ActiveCommit(world, 0)).status());
                  EXPECT_TRUE(world.CoWaitUntilReady("c"));
                  const size_t before = guest.operations();
                  MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("c", false));
                  MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("c"));
                  EXPECT_EQ(world.Shape(), "n3 <- n2 <- n1 <- n0");
                  EXPECT_TRUE(guest.WasOnce(*world.chain.images[0], before));
                  EXPECT_TRUE(world.IsReadOnly(world.chain.nodes[0]));
                  return absl::OkStatus();
                });
}

TEST(ActiveCommit, CancelByForceStopsWhereverItIs) {
  for (const JobState at : {JobState::kRunning, JobState::kReady}) {
    ExploreMirror({}, [at](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(
          CoStartCommit(world.graph(), world.jobs(), ActiveCommit(world, 0)).status());
      world.CoWaitForState("c", at);
      world.jobs().Cancel("c", true).IgnoreError();
      const absl::Status over = world.CoWaitUntilOver("c");
      EXPECT_TRUE(absl::IsCancelled(over)) << over;
      EXPECT_EQ(world.Shape(), "n3 <- n2 <- n1 <- n0");
      EXPECT_TRUE(world.IsReadOnly(world.chain.nodes[0]));
      return absl::OkStatus();
    });
  }
}

TEST(ActiveCommit, NodesThatTheMonitorOwnsSurviveThePivot) {
  ExploreMirror(
      {.is_owned_by_monitor = true},
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        CommitOptions options = ActiveCommit(world, 0);
        options.job.filter_name = "commit-filter";
        MILLRACE_RETURN_IF_ERROR(CoStartCommit(world.graph(), world.jobs(), options).status());
        EXPECT_EQ(world.Shape(), "[commit-filter] <- n3 <- n2 <- n1 <- n0");
        EXPECT_TRUE(world.CoWaitUntilReady("c"));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("c"));
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("c"));
        EXPECT_EQ(world.Shape(), "n0");
        EXPECT_EQ(world.graph().node_count(), 4u);
        return absl::OkStatus();
      },
      20);
}

// A job that is held by its speed is not ready: as in QEMU, clients go by that.
TEST(ActiveCommit, IsReadyWhenItsLastPieceIsPaidFor) {
  ExploreMirror(
      {.has_guest = false},
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        constexpr int64_t kSpeed = 1024;
        const Nanoseconds start = world.graph().engine().clock().Now();
        CommitOptions options = ActiveCommit(world, 0);
        options.job.spec.speed = kSpeed;
        MILLRACE_RETURN_IF_ERROR(CoStartCommit(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("c"));
        const Nanoseconds took = world.graph().engine().clock().Now() - start;
        MILLRACE_ASSIGN_OR_RETURN(const JobInfo info, world.jobs().Query("c"));
        EXPECT_GE(took, static_cast<int64_t>(info.current) * kSecond / kSpeed);
        world.jobs().Cancel("c", true).IgnoreError();
        world.CoWaitUntilOver("c").IgnoreError();
        return absl::OkStatus();
      },
      20);
}

// The base is shorter than the top, and has a backing whose old bytes must not show behind its end.
TEST(ActiveCommit, AShortBaseGrowsAndShowsNothingOfWhatLiesBelowIt) {
  ExploreMirror(
      {.layers = 3, .is_read_only = false, .has_guest = false},
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        MirrorWorld short_world(world.jobs_world.engine());
        MemoryChainOptions options;
        auto bottom = std::make_shared<MemoryOverlayImage>(kBytes, 512);
        auto base = std::make_shared<MemoryOverlayImage>(kBytes / 2, 512);
        auto top = std::make_shared<MemoryOverlayImage>(kBytes, 512);
        options.images = {bottom, base, top};
        TaggedDisk disk(kSectors);
        TaggedDisk hidden(kSectors);
        for (uint64_t i = kSectors / 2; i < kSectors; ++i) hidden.Put(*bottom, i);
        disk.Put(*top, 3);
        JobWorld& jobs = short_world.jobs_world;
        MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain,
                                  CoMakeMemoryChain(jobs.graph(), options, false));
        CommitOptions commit;
        commit.job.spec.id = "c";
        commit.root = chain.nodes[2];
        commit.top = chain.nodes[2];
        commit.base = chain.nodes[1];
        MILLRACE_RETURN_IF_ERROR(CoStartCommit(jobs.graph(), jobs.jobs(), commit).status());
        EXPECT_TRUE(short_world.CoWaitUntilReady("c"));
        absl::Status seen = disk.CoVerifyAll(chain.guest);
        MILLRACE_RETURN_IF_ERROR(jobs.jobs().Complete("c"));
        MILLRACE_RETURN_IF_ERROR(short_world.CoWaitUntilOver("c"));
        EXPECT_EQ(chain.Shape(jobs.graph()), "n1 <- n0");
        EXPECT_EQ(chain.guest.bytes(), kBytes);
        seen.Update(disk.CoVerifyAll(chain.guest));
        jobs.CoClose(chain);
        return seen;
      },
      20);
}

// ---- Mirror ------------------------------------------------------------------------------------

void MirrorAndPivot(MirrorSync sync, std::function<void(MirrorOptions&)> adapt = nullptr) {
  ExploreMirror({}, [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
    options.sync = sync;
    if (adapt) adapt(options);
    // Data that must not show through afterwards.
    TaggedDisk hidden(kSectors);
    for (uint64_t i = 0; i < 4 * kSectors; ++i) hidden.Put(*world.target, i % kSectors);
    MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
    EXPECT_TRUE(world.CoWaitUntilReady("m"));
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(3 * kMillisecond));
    MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
    EXPECT_EQ(world.Shape(), "t");
    return absl::OkStatus();
  });
}

TEST(Mirror, FullMakesTheTargetEqualAndPutsTheGuestOnIt) { MirrorAndPivot(MirrorSync::kFull); }

TEST(Mirror, SmallBufferAndLargeGranulesAreOnlySlower) {
  MirrorAndPivot(MirrorSync::kFull, [](MirrorOptions& options) {
    options.granularity = 2048;
    options.buffer_bytes = 1;
    options.unmap = false;
  });
}

TEST(Mirror, SoftCancelLeavesTheTargetAsTheDiskWasAtThatMoment) {
  ExploreMirror(
      {}, [](MirrorWorld& world, MirrorGuest& guest) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        const size_t before = guest.operations();
        MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("m", false));
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
        EXPECT_EQ(world.Shape(), "n3 <- n2 <- n1 <- n0");
        EXPECT_TRUE(guest.WasOnce(*world.target, before));
        return absl::OkStatus();
      });
}

TEST(Mirror, TopCopiesWhatTheTopImageHoldsAndNoMore) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.has_guest = false}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        options.sync = MirrorSync::kTop;
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        for (uint64_t i = 0; i < kSectors; ++i) {
          EXPECT_EQ(world.target->map[i], world.chain.images[3]->map[i]) << i;
        }
        MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("m", false));
        return world.CoWaitUntilOver("m");
      });
}

TEST(Mirror, NoneIsReadyAtOnceAndCopiesWhatIsWrittenFromThenOn) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.has_guest = false}, log,
      [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        options.sync = MirrorSync::kNone;
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        EXPECT_EQ(world.jobs().Query("m")->total, 0u);
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 5, 2));
        MILLRACE_RETURN_IF_ERROR(CoSleepFor(kSecond));
        EXPECT_EQ(world.jobs().Query("m")->current, 1024u);
        EXPECT_EQ(world.jobs().Query("m")->total, 1024u);
        for (uint64_t i = 0; i < kSectors; ++i) {
          EXPECT_EQ(world.target->map[i] == MemoryOverlayImage::Cluster::kData, i == 5 || i == 6);
        }
        MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("m", false));
        return world.CoWaitUntilOver("m");
      });
  ASSERT_NE(log.End(), nullptr);
  EXPECT_EQ(log.End()->kind, JobEventKind::kCompleted);
  EXPECT_EQ(log.End()->error, "");
}

TEST(Mirror, ReadyPausedIsStandbyAndNothingIsCopiedMeanwhile) {
  ExploreMirror({}, [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
    MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
    EXPECT_TRUE(world.CoWaitUntilReady("m"));
    MILLRACE_RETURN_IF_ERROR(world.jobs().Pause("m"));
    EXPECT_TRUE(world.CoWaitForState("m", JobState::kStandby));
    const uint64_t copied = world.jobs().Query("m")->current;
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(300 * kMillisecond));
    EXPECT_EQ(world.jobs().Query("m")->current, copied);
    // Completing is remembered until it may go on.
    MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(300 * kMillisecond));
    EXPECT_EQ(world.StateOf("m"), JobState::kStandby);
    MILLRACE_RETURN_IF_ERROR(world.jobs().Resume("m"));
    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
    EXPECT_EQ(world.Shape(), "t");
    return absl::OkStatus();
  });
}

// The guest is not stopped while the job waits for finalize, and what it writes is not lost.
TEST(Mirror, WhatIsWrittenWhileItWaitsToBeFinalizedReachesTheTarget) {
  ExploreMirror(
      {}, [](MirrorWorld& world, MirrorGuest& guest) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        options.job.spec.finalizes_automatically = false;
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
        EXPECT_TRUE(world.CoWaitForState("m", JobState::kPending));
        const size_t before = guest.operations();
        while (guest.operations() < before + 3) {
          MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
        }
        EXPECT_EQ(world.StateOf("m"), JobState::kPending);
        MILLRACE_RETURN_IF_ERROR(world.jobs().Finalize("m"));
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
        EXPECT_EQ(world.Shape(), "t");
        return absl::OkStatus();
      });
}

// ---- Copy mode write-blocking --------------------------------------------------------------------

TEST(Mirror, WriteBlockingEndsAsAnyOtherMirrorUnderEveryOrder) {
  MirrorAndPivot(MirrorSync::kFull, [](MirrorOptions& options) {
    options.copy_mode = MirrorCopyMode::kWriteBlocking;
    options.granularity = 1024;
  });
}

// Whatever a write that has returned has written is in the target, at that moment.
TEST(Mirror, WriteBlockingWritesTheTargetBeforeTheGuestGoesOn) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.has_guest = false}, log,
      [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
        options.sync = MirrorSync::kNone;
        options.copy_mode = MirrorCopyMode::kWriteBlocking;
        MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
        EXPECT_TRUE(world.CoWaitUntilReady("m"));
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 5, 2));
        for (uint64_t i = 0; i < kSectors; ++i) {
          EXPECT_EQ(world.target->map[i] == MemoryOverlayImage::Cluster::kData, i == 5 || i == 6);
        }
        // A job that rests writes nothing; the change is made good when it goes on.
        MILLRACE_RETURN_IF_ERROR(world.jobs().Pause("m"));
        EXPECT_TRUE(world.CoWaitForState("m", JobState::kStandby));
        MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 8, 1));
        EXPECT_NE(world.target->map[8], MemoryOverlayImage::Cluster::kData);
        MILLRACE_RETURN_IF_ERROR(world.jobs().Resume("m"));
        MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("m", false));
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
        EXPECT_EQ(world.target->map[8], MemoryOverlayImage::Cluster::kData);
        return absl::OkStatus();
      });
}

// Guests that write without a pause: something of theirs is always on its way to the target.
TEST(Mirror, WriteBlockingIsReadyAndOverWhileGuestsGoOnWriting) {
  for (const bool completes : {true, false}) {
    MirrorEventLog log;
    RunMirrorOnce(
        {.has_guest = false}, log,
        [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
          MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
          options.copy_mode = MirrorCopyMode::kWriteBlocking;
          options.granularity = TaggedDisk::kSector;
          static_cast<SimulatedIo&>(world.graph().engine().io()).SetLatency(kMillisecond);
          bool is_over = false;
          TaskScope guests("guests");
          for (const uint64_t sector : {3u, 9u}) {
            guests.Spawn("guest", [&, sector]() MILLRACE_MAY_SUSPEND -> absl::Status {
              for (int i = 0; i < 500 && !is_over; ++i) {
                MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, sector, 1));
              }
              EXPECT_TRUE(is_over);
              return absl::OkStatus();
            });
          }
          MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
          EXPECT_TRUE(world.CoWaitUntilReady("m"));
          MILLRACE_RETURN_IF_ERROR(completes ? world.jobs().Complete("m")
                                             : world.jobs().Cancel("m", false));
          MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
          is_over = true;
          return guests.CoJoin();
        });
  }
}

TEST(Mirror, WriteBlockingCancelledByForceLetsTheGuestGo) {
  ExploreMirror({}, [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
    options.copy_mode = MirrorCopyMode::kWriteBlocking;
    MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
    EXPECT_TRUE(world.CoWaitUntilReady("m"));
    world.jobs().Cancel("m", true).IgnoreError();
    const absl::Status over = world.CoWaitUntilOver("m");
    EXPECT_TRUE(absl::IsCancelled(over)) << over;
    EXPECT_EQ(world.Shape(), "n3 <- n2 <- n1 <- n0");
    return CoSleepFor(20 * kMillisecond);
  });
}

// ---- A target that was made for the mirror -------------------------------------------------------

void MirrorOntoBacking(MirrorSync sync, const std::string& shape) {
  ExploreMirror({}, [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
    options.sync = sync;
    options.backing = MirrorBacking::kOfSource;
    MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
    EXPECT_TRUE(world.CoWaitUntilReady("m"));
    MILLRACE_RETURN_IF_ERROR(world.jobs().Complete("m"));
    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
    EXPECT_EQ(world.Shape(), shape);
    return absl::OkStatus();
  });
}

TEST(Mirror, ATargetMadeForItStandsOnWhatTheSourceStoodOn) {
  MirrorOntoBacking(MirrorSync::kTop, "t <- n2 <- n1 <- n0");
}

TEST(Mirror, ATargetOfNewWritesOnlyStandsOnTheSource) {
  MirrorOntoBacking(MirrorSync::kNone, "t <- n3 <- n2 <- n1 <- n0");
}

TEST(Mirror, ATargetOfEverythingStandsOnNothing) { MirrorOntoBacking(MirrorSync::kFull, "t"); }

}  // namespace
}  // namespace millrace::mirror_test
