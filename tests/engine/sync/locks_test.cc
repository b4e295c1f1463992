// Semaphore, range lock and rate limiter: the ones with arithmetic in them.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/engine.h"
#include "millrace/engine/sync/range_lock.h"
#include "millrace/engine/sync/rate_limiter.h"
#include "millrace/engine/sync/semaphore.h"
#include "tests/engine/sync/sync_fixture.h"
#include "tests/support/seeds.h"

namespace millrace::locks_test {
namespace {

using absl::IsCancelled;

// ---- Semaphore ----------------------------------------------------------------------------------

class SemaphoreTest : public SyncFixture {
 protected:
  void SpawnAcquire(TaskScope& scope, const char* name, uint64_t permits) {
    scope.Spawn(name, [this, name, permits]() MILLRACE_MAY_SUSPEND {
      absl::Status status = semaphore_.CoAcquireCancellable(permits);
      log_.push_back(std::string(name) + (status.ok() ? "" : " cancelled"));
    });
  }
  Semaphore semaphore_{"s", 0};
};

TEST_F(SemaphoreTest, ALargeRequestIsNotOvertakenBySmallOnes) {
  SpawnAcquire(scope_, "large", 3);
  SpawnAcquire(scope_, "small", 1);
  Settle();
  semaphore_.Release(2);
  EXPECT_FALSE(semaphore_.TryAcquire());  // nor by somebody who does not wait
  Settle();
  EXPECT_EQ(log_, Log{});
  semaphore_.Release(2);
  ExpectAllDone();
  EXPECT_EQ(log_, (Log{"large", "small"}));
  EXPECT_EQ(semaphore_.available(), 0u);
}

TEST_F(SemaphoreTest, CancellingTheHeadLetsThoseBehindItThrough) {
  TaskScope doomed(engine_->scheduler(), "doomed");
  SpawnAcquire(doomed, "large", 3);
  SpawnAcquire(scope_, "small", 1);
  Settle();
  semaphore_.Release(1);
  doomed.Cancel();
  ExpectAllDone();
  EXPECT_EQ(log_, (Log{"large cancelled", "small"}));
  EXPECT_EQ(semaphore_.available(), 0u);
}

// The permits are released between the cancel and the run of the cancelled coroutine.
TEST_F(SemaphoreTest, ARequestThatWasCancelledTakesNoPermitsBeforeItRuns) {
  TaskScope doomed(engine_->scheduler(), "doomed");
  SpawnAcquire(doomed, "cancelled", 1);
  SpawnAcquire(scope_, "behind", 1);
  Settle();
  doomed.Cancel();
  semaphore_.Release(1);
  ExpectAllDone();
  EXPECT_EQ(log_, (Log{"cancelled cancelled", "behind"}));
  EXPECT_EQ(semaphore_.available(), 0u);
}

TEST_F(SemaphoreTest, ARequestThatWasGrantedKeepsItsPermitsWhenCancelledBeforeItRuns) {
  TaskScope doomed(engine_->scheduler(), "doomed");
  SpawnAcquire(doomed, "granted", 1);
  Settle();
  semaphore_.Release(1);
  doomed.Cancel();
  ExpectAllDone();
  EXPECT_EQ(log_, Log{"granted"});
  EXPECT_EQ(semaphore_.available(), 0u);
}

// ---- Range lock ---------------------------------------------------------------------------------

class RangeLockTest : public SyncFixture {
 protected:
  // Takes the range, logs its name, and keeps it until Release(name).
  void SpawnHolder(const char* name, ByteRange range, LockMode mode) {
    holders_.push_back(std::make_unique<Holder>(name));
    scope_.Spawn(name, [this, holder = holders_.back().get(), range, mode]() MILLRACE_MAY_SUSPEND {
      lock_.CoAcquire(range, mode, holder->hold);
      log_.push_back(holder->name);
    });
  }
  void Release(const std::string& name) {
    for (auto& holder : holders_) {
      if (holder->name == name) holder->hold.Release();
    }
  }

  struct Holder {
    explicit Holder(const char* holder_name) : name(holder_name) {}
    std::string name;
    RangeLock::Hold hold;
  };
  RangeLock lock_{"r"};
  std::vector<std::unique_ptr<Holder>> holders_;
};

TEST_F(RangeLockTest, OnlyOverlapsWithAWriterWait) {
  SpawnHolder("reader", {0, 10}, LockMode::kShared);
  SpawnHolder("second reader", {5, 10}, LockMode::kShared);
  SpawnHolder("writer elsewhere", {15, 5}, LockMode::kExclusive);
  SpawnHolder("writer", {14, 1}, LockMode::kExclusive);
  Settle();
  EXPECT_EQ(log_, (Log{"reader", "second reader", "writer elsewhere"}));
  EXPECT_TRUE(lock_.IsBusy({14, 1}));
  EXPECT_FALSE(lock_.IsBusy({20, 100}));
  Release("second reader");
  ExpectAllDone();
  EXPECT_EQ(log_.back(), "writer");
}

// Otherwise a stream of readers keeps a writer waiting for ever.
TEST_F(RangeLockTest, ALaterReaderWaitsBehindAWaitingWriter) {
  SpawnHolder("reader", {0, 10}, LockMode::kShared);
  SpawnHolder("writer", {0, 10}, LockMode::kExclusive);
  SpawnHolder("late reader", {0, 10}, LockMode::kShared);
  Settle();
  EXPECT_EQ(log_, Log{"reader"});
  RangeLock::Hold hold;
  EXPECT_FALSE(lock_.TryAcquire({0, 1}, LockMode::kShared, hold));
  EXPECT_FALSE(hold.is_held());
  Release("reader");
  Settle();
  EXPECT_EQ(log_, (Log{"reader", "writer"}));
  Release("writer");
  ExpectAllDone();
  EXPECT_EQ(log_.back(), "late reader");
}

TEST_F(RangeLockTest, OneReleaseGrantsEverythingThatBecameFree) {
  SpawnHolder("all", {0, 100}, LockMode::kExclusive);
  SpawnHolder("a", {0, 10}, LockMode::kExclusive);
  SpawnHolder("b", {50, 10}, LockMode::kExclusive);
  SpawnHolder("a again", {5, 1}, LockMode::kShared);
  Settle();
  EXPECT_EQ(log_, Log{"all"});
  Release("all");
  Settle();
  EXPECT_EQ(log_, (Log{"all", "a", "b"}));
  Release("a");
  ExpectAllDone();
}

// A waiter that was granted and has not run yet holds the range already (R20).
TEST_F(RangeLockTest, AGrantCountsBeforeTheWaiterRuns) {
  SpawnHolder("first", {0, 10}, LockMode::kExclusive);
  SpawnHolder("second", {0, 10}, LockMode::kExclusive);
  Settle();
  Release("first");
  RangeLock::Hold hold;
  EXPECT_FALSE(lock_.TryAcquire({0, 10}, LockMode::kShared, hold));
  ExpectAllDone();
}

TEST_F(RangeLockTest, AnEmptyRangeConflictsWithNothing) {
  RangeLock::Hold all;
  RangeLock::Hold nothing;
  EXPECT_TRUE(lock_.TryAcquire({0, 10}, LockMode::kExclusive, all));
  EXPECT_TRUE(lock_.TryAcquire({5, 0}, LockMode::kExclusive, nothing));
}

TEST_F(RangeLockTest, AHoldIsUsedAgainAfterItsRelease) {
  RangeLock::Hold hold;
  for (int round = 0; round < 2; ++round) {
    EXPECT_TRUE(lock_.TryAcquire({0, 10}, LockMode::kExclusive, hold));
    hold.Release();
    hold.Release();  // no-op
  }
  EXPECT_TRUE(lock_.empty());
}

TEST_F(RangeLockTest, MisuseIsRefused) {
  RangeLock::Hold hold;
  EXPECT_TRUE(lock_.TryAcquire({0, 10}, LockMode::kExclusive, hold));
  EXPECT_DEATH(lock_.TryAcquire({20, 1}, LockMode::kShared, hold), "hold that is in use");
  SpawnHolder("waiter", {0, 10}, LockMode::kExclusive);
  Settle();
  EXPECT_DEATH(Release("waiter"), "while its acquirer still waits");
  hold.Release();
  ExpectAllDone();
}

// ---- Rate limiter -------------------------------------------------------------------------------

TEST(RateLimiter, OvershootIsPaidBackExactly) {
  RateLimiter limiter;
  limiter.SetSpeed(64 * 1024);
  EXPECT_EQ(limiter.Account(kSecond, 0), 0);
  EXPECT_NEAR(static_cast<double>(limiter.Account(kSecond, 512 * 1024)), 8e9, 2e6);
}

TEST(RateLimiter, AnEarlyWakerIsToldTheRest) {
  RateLimiter limiter;
  limiter.SetSpeed(1000);
  const Nanoseconds delay = limiter.Account(kSecond, 1000);
  EXPECT_EQ(delay, kSecond);
  EXPECT_EQ(limiter.Account(kSecond + delay / 4, 0), delay - delay / 4);
  EXPECT_EQ(limiter.Account(kSecond + delay, 0), 0);
}

TEST(RateLimiter, ZeroIsUnlimited) {
  RateLimiter limiter;
  EXPECT_EQ(limiter.Account(kSecond, kBytesMax), 0);
  limiter.SetSpeed(1);
  limiter.SetSpeed(0);
  EXPECT_EQ(limiter.Account(kSecond, kBytesMax), 0);
}

// R24: set-speed wakes the job; if it also forgave the debt, each call would buy a piece.
TEST(RateLimiter, SettingASpeedForgivesNothing) {
  RateLimiter limiter;
  limiter.SetSpeed(1000);
  EXPECT_EQ(limiter.Account(kSecond, 10'000), 10 * kSecond);
  limiter.SetSpeed(1000);
  EXPECT_EQ(limiter.Account(kSecond, 0), 10 * kSecond);
  limiter.SetSpeed(2000);  // the debt, at the new speed
  EXPECT_EQ(limiter.Account(kSecond, 0), 5 * kSecond);
}

// In the middle of a long stretch the speed rises a thousandfold, so that the debt has been paid.
TEST(RateLimiter, ARiseOfSpeedLetsOneQuotaPassAndNotTwo) {
  RateLimiter limiter;
  limiter.SetSpeed(1000);
  EXPECT_EQ(limiter.Account(kSecond, 10'000), 10 * kSecond);
  const Nanoseconds now = 2 * kSecond;
  limiter.SetSpeed(1'000'000);
  constexpr uint64_t kPiece = 10'000;
  uint64_t moved = 0;
  for (; moved < 1'000'000 && limiter.Account(now, 0) == 0; moved += kPiece) {
    limiter.Account(now, kPiece);
  }
  EXPECT_EQ(moved, 100'000u);  // 100 ms worth
}

TEST(RateLimiter, EnormousDebtsStayRepresentable) {
  RateLimiter limiter;
  limiter.SetSpeed(1);
  EXPECT_GT(limiter.Account(kSecond, kBytesMax), 0);
}

// Whatever the speed, the pieces and the wakes that come too early: what was moved by any time is
// at most speed * time and one piece, plus what one slice lets through before it looks.
TEST(RateLimiter, NeverMovesMoreThanSpeedTimesTimeAndAPiece) {
  for (uint64_t seed : Seeds()) {
    RandomStream random(seed, "limiter");
    RateLimiter limiter;
    const uint64_t speed = 10 * (1 + random.Below(100'000));
    const uint64_t piece_max = 1 + random.Below(1 << 20);
    limiter.SetSpeed(speed);
    const Nanoseconds start = static_cast<Nanoseconds>(random.Below(kSecond));
    Nanoseconds now = start;
    uint64_t moved = 0;
    for (int i = 0; i < 200; ++i) {
      while (Nanoseconds delay = limiter.Account(now, 0)) {
        if (random.OneIn(4)) limiter.SetSpeed(speed);
        now += random.OneIn(3) ? 1 + delay / 3 : delay;  // drains and resumes wake it early
      }
      const uint64_t piece = 1 + random.Below(piece_max);
      limiter.Account(now, piece);
      moved += piece;
      const double seconds = static_cast<double>(now - start) / 1e9;
      const double allowed =
          static_cast<double>(speed) * (seconds + 0.1) + static_cast<double>(piece_max) + 1;
      ASSERT_LE(static_cast<double>(moved), allowed) << "seed " << seed << " piece " << i;
    }
  }
}

}  // namespace
}  // namespace millrace::locks_test
