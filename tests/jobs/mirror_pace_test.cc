// A background mirror and guests that write faster than it copies: they are held back until it is
// ready, or over, and no longer; and what a mirror copies of a write is what was written.
#include <cstdint>
#include <functional>

#include <gtest/gtest.h>

#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/jobs/mirror_support.h"

namespace millrace::mirror_pace_test {
namespace {

// Guests that never rest, one a sector, each with one write at a time.
class Outrunners {
 public:
  explicit Outrunners(MirrorWorld& world) : world_(world) {}

  void Start() {
    for (const uint64_t sector : {3u, 9u, 14u}) {
      scope_.Spawn("guest", [this, sector]() MILLRACE_MAY_SUSPEND -> absl::Status {
        while (!is_stopped_) {
          MILLRACE_RETURN_IF_ERROR(world_.disk.CoWrite(world_.chain.guest, sector, 1));
          ++writes_;
        }
        return absl::OkStatus();
      });
    }
  }
  absl::Status CoStop() MILLRACE_MAY_SUSPEND {
    is_stopped_ = true;
    return scope_.CoJoin();
  }
  uint64_t writes() const { return writes_; }

 private:
  MirrorWorld& world_;
  TaskScope scope_{"guests"};
  bool is_stopped_ = false;
  uint64_t writes_ = 0;
};

// A mirror whose copies take as long as two of the guests' writes, with guests at work.
void MirrorOutrun(int64_t speed,
                  const std::function<absl::Status(MirrorWorld&, Outrunners&)>& body) {
  MirrorEventLog log;
  RunMirrorOnce({.has_guest = false}, log,
                [&](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
                  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, world.CoMirrorToImage());
                  options.job.spec.speed = speed;
                  static_cast<SimulatedIo&>(world.graph().engine().io()).SetLatency(kMillisecond);
                  Outrunners guests(world);
                  guests.Start();
                  absl::Status status =
                      CoStartMirror(world.graph(), world.jobs(), options).status();
                  if (status.ok()) status = body(world, guests);
                  status.Update(guests.CoStop());
                  return status;
                });
}

// Waits for so long; false if the job is not ready by then.
bool CoIsReadyWithin(MirrorWorld& world, Nanoseconds time) MILLRACE_MAY_SUSPEND {
  for (Nanoseconds waited = 0; waited < time; waited += kMillisecond) {
    if (world.StateOf("m") == JobState::kReady) return true;
    CoSleepFor(kMillisecond).IgnoreError();
  }
  return false;
}

TEST(MirrorPace, IsReadyAndOverThoughGuestsWriteFasterThanItCopies) {
  for (const bool completes : {true, false}) {
    MirrorOutrun(0, [&](MirrorWorld& world, Outrunners&) MILLRACE_MAY_SUSPEND -> absl::Status {
      EXPECT_TRUE(CoIsReadyWithin(world, 60 * kSecond));
      MILLRACE_RETURN_IF_ERROR(completes ? world.jobs().Complete("m")
                                         : world.jobs().Cancel("m", false));
      MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
      EXPECT_EQ(world.Shape(), completes ? "t" : "n3 <- n2 <- n1 <- n0");
      return absl::OkStatus();
    });
  }
}

TEST(MirrorPace, GuestsAreHeldBackOnlyUntilItIsReady) {
  MirrorOutrun(0, [](MirrorWorld& world, Outrunners& guests) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(200 * kMillisecond));
    const uint64_t before_pass = guests.writes();
    EXPECT_GE(before_pass, 3 * 190u);  // one each in every millisecond
    EXPECT_TRUE(CoIsReadyWithin(world, 60 * kSecond));
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(50 * kMillisecond));
    const uint64_t ready = guests.writes();
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(200 * kMillisecond));
    EXPECT_GE(guests.writes() - ready, 3 * 190u);
    return absl::OkStatus();
  });
}

// Copies in guests' requests would not keep the limit; who sets one knows what he asks for.
TEST(MirrorPace, UnderASpeedLimitGuestsAreNotHeldBack) {
  MirrorOutrun(1 << 20,
               [](MirrorWorld& world, Outrunners& guests) MILLRACE_MAY_SUSPEND -> absl::Status {
                 EXPECT_FALSE(CoIsReadyWithin(world, 20 * kSecond));
                 const uint64_t before = guests.writes();
                 MILLRACE_RETURN_IF_ERROR(CoSleepFor(200 * kMillisecond));
                 EXPECT_GE(guests.writes() - before, 3 * 190u);
                 MILLRACE_RETURN_IF_ERROR(world.jobs().SetSpeed("m", 0));
                 EXPECT_TRUE(CoIsReadyWithin(world, 60 * kSecond));
                 return absl::OkStatus();
               });
}

}  // namespace
}  // namespace millrace::mirror_pace_test
