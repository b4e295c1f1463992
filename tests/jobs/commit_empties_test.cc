// A commit after which the guest stays where it is, on an image that is empty.
#include <algorithm>

#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "tests/jobs/mirror_support.h"

namespace millrace::commit_empties_test {
namespace {

using Cluster = MemoryOverlayImage::Cluster;

CommitOptions Emptying(const MirrorWorld& world, size_t base) {
  CommitOptions options = ActiveCommit(world, base);
  options.empties_top = true;
  return options;
}

bool IsEmpty(const MemoryOverlayImage& image) {
  return std::all_of(image.map.begin(), image.map.end(),
                     [](Cluster each) { return each == Cluster::kUnallocated; });
}

// Without a guest nothing is written after the end.
TEST(CommitEmpties, TheTopIsEmptyAndTheGuestIsOnIt) {
  MirrorEventLog log;
  RunMirrorOnce({.has_guest = false}, log,
                [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                  MILLRACE_RETURN_IF_ERROR(world.disk.CoWrite(world.chain.guest, 4, 3));
                  MILLRACE_RETURN_IF_ERROR(world.disk.CoZero(world.chain.guest, 9, 2, false));
                  MILLRACE_RETURN_IF_ERROR(
                      CoStartCommit(world.graph(), world.jobs(), Emptying(world, 2)).status());
                  MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("c"));
                  EXPECT_EQ(world.Shape(), "n3 <- n2 <- n1 <- n0");
                  EXPECT_TRUE(IsEmpty(*world.chain.images[3]));
                  EXPECT_TRUE(world.IsReadOnly(world.chain.nodes[2]));
                  return world.disk.CoVerifyAll(world.chain.guest);
                });
  EXPECT_EQ(log.Count(JobEventKind::kReady), 0u);
}

// What a guest has written at any moment is there afterwards: RunMirror() looks.
TEST(CommitEmpties, NothingThatAGuestWritesMeanwhileIsForgottenUnderEveryOrder) {
  ExploreMirror({.map_takes_step = true},
                [](MirrorWorld& world, MirrorGuest& guest) MILLRACE_MAY_SUSPEND -> absl::Status {
                  for (int round = 0; round < 2; ++round) {
                    const size_t before = guest.operations();
                    MILLRACE_RETURN_IF_ERROR(
                        CoStartCommit(world.graph(), world.jobs(), Emptying(world, 2)).status());
                    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("c"));
                    EXPECT_EQ(world.Shape(), "n3 <- n2 <- n1 <- n0");
                    while (guest.operations() < before + 2) {
                      MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
                    }
                  }
                  return absl::OkStatus();
                });
}

TEST(CommitEmpties, CancelledItHasForgottenNothingThatTheBaseDoesNotHave) {
  ExploreMirror({}, [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(
        CoStartCommit(world.graph(), world.jobs(), Emptying(world, 2)).status());
    CoSleepFor(kMillisecond).IgnoreError();
    world.jobs().Cancel("c", true).IgnoreError();
    world.CoWaitUntilOver("c").IgnoreError();
    EXPECT_EQ(world.Shape(), "n3 <- n2 <- n1 <- n0");
    return absl::OkStatus();
  });
}

// Images between it and the base would show through again, with what they held before.
TEST(CommitEmpties, OnlyAnActiveLayerRightAboveTheBaseCanBe) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.has_guest = false}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        CommitOptions below_it = Emptying(world, 1);
        below_it.top = world.chain.nodes[2];
        for (const CommitOptions& options : {below_it, Emptying(world, 1), Emptying(world, 0)}) {
          const absl::Status refused = CoStartCommit(world.graph(), world.jobs(), options).status();
          EXPECT_EQ(ConflictOf(refused)->reason, ConflictReason::kInvalidOption);
          EXPECT_EQ(world.Shape(), "n3 <- n2 <- n1 <- n0");
        }
        return absl::OkStatus();
      });
}

}  // namespace
}  // namespace millrace::commit_empties_test
