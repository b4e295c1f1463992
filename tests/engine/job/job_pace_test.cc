// Sleeping, waking and the speed limit (invariant I14).
#include <cstdint>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/sync/sleep.h"
#include "tests/support/job_harness.h"
#include "tests/support/seeds.h"

namespace millrace::job_pace_test {
namespace {

// Multiples of ten bytes a second, because a tenth of a second's quota is a whole number of bytes.
constexpr int64_t kSpeed = 65'000;
constexpr uint64_t kPiece = 8 * kSpeed;

// I14: in no window are more bytes moved than speed * window + one piece.
void CheckPace(const std::vector<std::pair<Nanoseconds, uint64_t>>& moved, int64_t speed,
               uint64_t piece) {
  for (size_t first = 0; first < moved.size(); ++first) {
    uint64_t bytes = 0;
    for (size_t last = first; last < moved.size(); ++last) {
      bytes += moved[last].second;
      const Nanoseconds window = moved[last].first - moved[first].first;
      const double allowed =
          static_cast<double>(speed) * static_cast<double>(window) / kSecond + 1.0;
      ASSERT_LE(static_cast<double>(bytes), allowed + static_cast<double>(piece))
          << "pieces " << first << " to " << last;
    }
  }
}

TEST(JobPace, FirstPieceIsImmediateAndTheRestArePaidFor) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.pieces = 4, .piece_bytes = kPiece}, {.speed = kSpeed});
  world.Settle();
  const auto& moved = world.trace(job).moved;
  ASSERT_EQ(moved.size(), 4u);
  EXPECT_EQ(moved[0].first, 0);
  for (size_t i = 1; i < 4; ++i) EXPECT_EQ(moved[i].first - moved[i - 1].first, 8 * kSecond);
}

TEST(JobPace, WithoutALimitNoTimePasses) {
  BareJobWorld world;
  world.Start("a", {.pieces = 1000, .piece_bytes = kPiece});
  world.Settle();
  EXPECT_EQ(world.engine().clock().Now(), 0);
}

TEST(JobPace, ALimitSetAndLiftedTakesEffectAtOnce) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.pieces = 3, .piece_bytes = kPiece}, {.speed = kSpeed});
  world.engine().RunUntil([&] { return world.engine().clock().Now() >= 8 * kSecond; });
  ASSERT_TRUE(world.jobs().SetSpeed("a", 0).ok());
  world.Settle();
  EXPECT_EQ(world.engine().clock().Now(), 8 * kSecond);
  EXPECT_EQ(world.trace(job).pieces_done, 3u);
}

TEST(JobPace, AHigherSpeedShortensTheSleepInProgress) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.pieces = 2, .piece_bytes = kPiece}, {.speed = kSpeed});
  world.engine().RunUntil([&] { return world.trace(job).pieces_done == 1; });
  world.RunReady();
  ASSERT_TRUE(world.jobs().SetSpeed("a", 8 * kSpeed).ok());
  world.Settle();
  EXPECT_EQ(world.trace(job).moved[1].first, kSecond);
}

TEST(JobPace, ALowerSpeedDoesNotWakeTheSleeper) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.pieces = 2, .piece_bytes = kPiece}, {.speed = kSpeed});
  world.engine().RunUntil([&] { return world.trace(job).pieces_done == 1; });
  world.RunReady();
  ASSERT_TRUE(world.jobs().SetSpeed("a", kSpeed / 2).ok());
  EXPECT_FALSE(world.engine().scheduler().has_ready());
  world.Settle();
  // Woken after 8 s at the old speed; by then the new one wants 16 s in all.
  EXPECT_EQ(world.trace(job).moved[1].first, 16 * kSecond);
}

// An idle job is not waiting for its speed.
TEST(JobPace, ASpeedDoesNotWakeAnIdleJob) {
  BareJobWorld world;
  world.Start("a", {.idles = true});
  world.Settle();
  ASSERT_TRUE(world.jobs().SetSpeed("a", 1000).ok());
  EXPECT_FALSE(world.engine().scheduler().has_ready());
}

// Race R24: drains, pauses and set-speed wake the sleeper; none of that buys a piece.
TEST(JobPace, NothingThatWakesAJobBuysAPiece) {
  for (uint64_t seed : Seeds(/*cost=*/10)) {
    SCOPED_TRACE(seed);
    BareJobWorld world;
    RandomStream random(seed, "pace");
    const JobNumber job = world.Start("a", {.pieces = 5, .piece_bytes = kPiece}, {.speed = kSpeed});
    JobTrace& trace = world.trace(job);
    while (world.jobs().Query(job).ok() && trace.pieces_done < 5) {
      world.Step(random.Below(4));
      if (!world.jobs().Query(job).ok()) break;
      switch (random.Below(3)) {
        case 0: {
          trace.quiescable->BeginQuiesce();
          world.Step(random.Below(4));
          if (world.jobs().Query(job).ok()) trace.quiescable->EndQuiesce();
          break;
        }
        case 1:
          if (world.jobs().Pause(job).ok()) (void)world.jobs().Resume(job);
          break;
        default:
          (void)world.jobs().SetSpeed(job, kSpeed);
      }
    }
    world.Settle();
    EXPECT_EQ(trace.pieces_done, 5u);
    CheckPace(trace.moved, kSpeed, kPiece);
  }
}

// A drain that lasts does not let a job catch up beyond its limit either.
TEST(JobPace, TimeSpentParkedIsNotSavedUp) {
  BareJobWorld world;
  const JobNumber job = world.Start("a", {.pieces = 50, .piece_bytes = 1000}, {.speed = 1000});
  world.engine().RunUntil([&] { return world.trace(job).pieces_done == 5; });
  ASSERT_TRUE(world.jobs().Pause(job).ok());
  world.Run([&]() MILLRACE_NO_ANALYSIS { (void)CoSleepFor(3600 * kSecond); });
  ASSERT_TRUE(world.jobs().Resume(job).ok());
  world.Settle();
  ASSERT_EQ(world.trace(job).pieces_done, 50u);
  CheckPace(world.trace(job).moved, 1000, 1000);
}

TEST(JobPace, AThousandIdleJobsArmNoTimer) {
  BareJobWorld world;
  for (int i = 0; i < 1000; ++i) world.Start("job" + std::to_string(i), {.idles = true});
  world.Settle();
  EXPECT_EQ(world.engine().scheduler().NextTimer(), kNever);
  EXPECT_EQ(world.jobs().live_jobs(), 1000u);
}

TEST(JobPace, AZeroSleepLetsOthersIn) {
  BareJobWorld world;
  const JobNumber first = world.Start("a", {.pieces = 50});
  const JobNumber second = world.Start("b", {.pieces = 50});
  world.engine().RunUntil([&] { return world.trace(first).pieces_done == 50; });
  EXPECT_GE(world.trace(second).pieces_done, 45u);
}

}  // namespace
}  // namespace millrace::job_pace_test
