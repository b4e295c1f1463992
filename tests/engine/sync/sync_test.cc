// Event, condition, gate, mutex, wait queue, sleep: what each promises, one behaviour a test.
// Programs that mix them at random are in random_programs_test.cc.
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/sync/condition.h"
#include "millrace/engine/sync/event.h"
#include "millrace/engine/sync/gate.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/engine/sync/sync_fixture.h"

namespace millrace::sync_test {
namespace {

using absl::IsCancelled;

// ---- WaitQueue ----------------------------------------------------------------------------------

using WaitQueueTest = SyncFixture;

TEST_F(WaitQueueTest, WakesFirstComeFirstServedWithoutADecider) {
  WaitQueue queue;
  for (const char* name : {"a", "b", "c"}) {
    Spawn(name, [&, name]() MILLRACE_MAY_SUSPEND {
      queue.CoWait("test", nullptr);
      log_.push_back(name);
    });
  }
  Settle();
  EXPECT_TRUE(queue.WakeOne());
  Settle();
  EXPECT_EQ(log_, Log{"a"});
  EXPECT_EQ(queue.WakeAll(), 2u);
  EXPECT_EQ(queue.WakeAll(), 0u);
  ExpectAllDone();
  EXPECT_EQ(log_, (Log{"a", "b", "c"}));
}

TEST(WaitQueue, WakeOneLetsTheDeciderChooseTheWaiter) {
  struct LastWaiter final : Decider {
    size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
      if (kind != ChoiceKind::kWake) return 0;
      EXPECT_EQ(options.back().detail, "test");
      return options.size() - 1;
    }
  } decider;
  auto engine = SimulatedEngine(&decider);
  TaskScope scope(engine->scheduler(), "test");
  WaitQueue queue;
  Log log;
  for (const char* name : {"a", "b", "c"}) {
    scope.Spawn(name, [&, name]() MILLRACE_MAY_SUSPEND {
      queue.CoWait("test", nullptr);
      log.push_back(name);
    });
  }
  engine->RunUntil([] { return false; });
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(queue.WakeOne());
  EXPECT_TRUE(engine->RunUntil([&] { return scope.live() == 0; }));
  EXPECT_EQ(log, (Log{"c", "b", "a"}));
}

// R25, R49: a wake with nobody waiting is not remembered, and one wake ends one wait only.
TEST_F(WaitQueueTest, EachWakeBelongsToOneWait) {
  WaitQueue queue;
  int waits = 0;
  EXPECT_FALSE(queue.WakeOne());
  Spawn("waiter", [&]() MILLRACE_MAY_SUSPEND {
    for (; waits < 3; ++waits) queue.CoWait("test", nullptr);
  });
  Settle();
  for (int expected = 1; expected <= 3; ++expected) {
    EXPECT_TRUE(queue.WakeOne());
    EXPECT_FALSE(queue.WakeOne());  // woken but not run yet: nobody waits
    Settle();
    EXPECT_EQ(waits, expected);
  }
  ExpectAllDone();
}

// ---- Event --------------------------------------------------------------------------------------

using EventTest = SyncFixture;

TEST_F(EventTest, SetWakesEverybodyAndStays) {
  Event event("e");
  for (const char* name : {"a", "b"}) {
    Spawn(name, [&, name]() MILLRACE_MAY_SUSPEND {
      event.CoWait();
      log_.push_back(name);
    });
  }
  Settle();
  EXPECT_TRUE(event.has_waiters());
  event.Set();
  Spawn("late", [&]() MILLRACE_MAY_SUSPEND {
    event.CoWait();
    EXPECT_TRUE(event.CoWaitCancellable().ok());
    log_.push_back("late");
  });
  ExpectAllDone();
  EXPECT_EQ(log_, (Log{"a", "b", "late"}));
}

TEST_F(EventTest, ResetMakesTheNextWait) {
  Event event("e");
  event.Set();
  event.Reset();
  Spawn("waiter", [&]() MILLRACE_MAY_SUSPEND { event.CoWait(); });
  Settle();
  EXPECT_EQ(scope_.live(), 1u);
  // A wake that was given is not taken back by a Reset() before the waiter runs.
  event.Set();
  event.Reset();
  ExpectAllDone();
}

// ---- Condition ----------------------------------------------------------------------------------

using ConditionTest = SyncFixture;

TEST_F(ConditionTest, ReturnsWithThePredicateTrue) {
  Condition condition("c");
  int tokens = 0;
  int taken = 0;
  for (int i = 0; i < 3; ++i) {
    Spawn("taker", [&]() MILLRACE_MAY_SUSPEND {
      condition.CoWaitUntil([&] { return tokens > 0; });
      EXPECT_GT(tokens, 0);
      --tokens;
      ++taken;
    });
  }
  Settle();
  for (int expected = 1; expected <= 3; ++expected) {
    ++tokens;
    condition.Notify();
    Settle();
    EXPECT_EQ(taken, expected);
  }
  ExpectAllDone();
}

TEST_F(ConditionTest, CancelEndsTheWaitUnlessThePredicateHolds) {
  Condition condition("c");
  absl::Status waited;
  absl::Status held;
  Spawn("waiter", [&]() MILLRACE_MAY_SUSPEND {
    waited = condition.CoWaitUntilCancellable([] { return false; });
    held = condition.CoWaitUntilCancellable([] { return true; });
  });
  Settle();
  scope_.Cancel();
  ExpectAllDone();
  EXPECT_TRUE(IsCancelled(waited));
  EXPECT_TRUE(held.ok());
}

// ---- Gate ---------------------------------------------------------------------------------------

using GateTest = SyncFixture;

TEST_F(GateTest, OpensWhenEveryClosingIsUndone) {
  Gate gate("g");
  gate.Close();
  gate.Close();
  Spawn("passer", [&]() MILLRACE_MAY_SUSPEND { gate.CoPass(); });
  gate.Open();
  Settle();
  EXPECT_EQ(scope_.live(), 1u);
  gate.Open();
  EXPECT_TRUE(gate.is_open());
  ExpectAllDone();
}

// R20: between the wake and the run of a passer the gate closes again.
TEST_F(GateTest, APasserThatWasWokenWaitsAgainIfTheGateClosedMeanwhile) {
  Gate gate("g");
  gate.Close();
  Spawn("passer", [&]() MILLRACE_MAY_SUSPEND {
    gate.CoPass();
    EXPECT_TRUE(gate.is_open());
  });
  Settle();
  gate.Open();
  gate.Close();
  Settle();
  EXPECT_EQ(scope_.live(), 1u);
  gate.Open();
  ExpectAllDone();
}

TEST(GateDeathTest, OpeningAnOpenGateIsRefused) {
  Gate gate("g");
  EXPECT_DEATH(gate.Open(), "opened more often");
}

// ---- Mutex --------------------------------------------------------------------------------------

using MutexTest = SyncFixture;

// R20: a newcomer that runs between the unlock and the run of the woken waiter must not get in.
TEST_F(MutexTest, IsHandedOverToTheWaiterBeforeItRuns) {
  Mutex mutex("m");
  Spawn("holder", [&]() MILLRACE_MAY_SUSPEND {
    mutex.CoLock();
    CoYield();
    mutex.Unlock();
    EXPECT_TRUE(mutex.is_locked());
    EXPECT_FALSE(mutex.is_held_by_me());
    EXPECT_FALSE(mutex.TryLock());
  });
  Spawn("waiter", [&]() MILLRACE_MAY_SUSPEND {
    MutexLock lock(CoHold(mutex));
    EXPECT_TRUE(mutex.is_held_by_me());
  });
  ExpectAllDone();
  EXPECT_FALSE(mutex.is_locked());
}

TEST_F(MutexTest, LockObjectUnlocksOnceWhereverItWasMoved) {
  Mutex mutex("m");
  Spawn("mover", [&]() MILLRACE_MAY_SUSPEND {
    MutexLock lock(CoHold(mutex));
    MutexLock moved(std::move(lock));
    EXPECT_TRUE(mutex.is_held_by_me());
    moved.Release();
    EXPECT_FALSE(mutex.is_locked());
    EXPECT_TRUE(mutex.TryLock());
    mutex.Unlock();
  });
  ExpectAllDone();
}

TEST(MutexDeathTest, MisuseIsRefused) {
  auto run = [](auto&& body) {
    auto engine = SimulatedEngine();
    (void)engine->Run(body);
  };
  EXPECT_DEATH(run([&]() MILLRACE_MAY_SUSPEND {
                 Mutex mutex("m");
                 mutex.CoLock();
                 mutex.CoLock();
               }),
               "locked twice");
  EXPECT_DEATH(run([&]() MILLRACE_MAY_SUSPEND {
                 Mutex mutex("m");
                 mutex.Unlock();
               }),
               "does not hold it");
  EXPECT_DEATH(run([&]() MILLRACE_MAY_SUSPEND {
                 Mutex mutex("m");
                 mutex.CoLock();
               }),
               "destroyed while locked");
}

// The second coroutine gets the stack, and so the address, of the first, which forgot to unlock.
TEST_F(MutexTest, ASuccessorAtTheSameAddressIsNotTakenForTheHolder) {
  // Never destroyed: a mutex whose holder has ended cannot be unlocked, nor destroyed while locked.
  alignas(Mutex) static char place[sizeof(Mutex)];
  auto* mutex = new (place) Mutex("m");
  Spawn("forgetful", [&]() MILLRACE_MAY_SUSPEND { mutex->CoLock(); });
  Settle();
  Spawn("successor", [&]() MILLRACE_MAY_SUSPEND { EXPECT_FALSE(mutex->is_held_by_me()); });
  ExpectAllDone();
}

// ---- Sleep --------------------------------------------------------------------------------------

using SleepTest = SyncFixture;

TEST_F(SleepTest, SleepersWakeByDeadline) {
  for (int i : {3, 1, 2}) {
    Spawn("sleeper", [&, i]() MILLRACE_MAY_SUSPEND {
      EXPECT_TRUE(CoSleepFor(i * kMillisecond).ok());
      log_.push_back(StrCat(i));
    });
  }
  ExpectAllDone();
  EXPECT_EQ(log_, (Log{"1", "2", "3"}));
  EXPECT_EQ(engine_->clock().Now(), 3 * kMillisecond);
}

TEST_F(SleepTest, CancelEndsItAtOnceAndNoTimerStays) {
  absl::Status slept;
  Spawn("sleeper", [&]() MILLRACE_MAY_SUSPEND { slept = CoSleepFor(kSecond); });
  engine_->RunUntil([&] { return engine_->scheduler().NextTimer() != kNever; });
  scope_.Cancel();
  EXPECT_TRUE(engine_->RunUntil([&] { return scope_.live() == 0; }));
  EXPECT_TRUE(IsCancelled(slept));
  EXPECT_EQ(engine_->scheduler().NextTimer(), kNever);
  EXPECT_EQ(engine_->clock().Now(), 0);
}

// R25 (b): the timer fires between the cancel and the run of the cancelled sleeper.
TEST_F(SleepTest, ATimerThatFiresAfterTheCancelHitsNobody) {
  absl::Status slept;
  Spawn("sleeper", [&]() MILLRACE_MAY_SUSPEND { slept = CoSleepUntil(1); });
  engine_->RunUntil([&] { return engine_->scheduler().NextTimer() != kNever; });
  scope_.Cancel();
  engine_->clock().AdvanceTo(1);
  EXPECT_EQ(engine_->scheduler().FireDueTimers(), 1u);
  ExpectAllDone();
  EXPECT_TRUE(IsCancelled(slept));
}

TEST_F(SleepTest, InterruptibleSleepEndsAtItsDeadlineOrWhenKicked) {
  InterruptibleSleep rest(engine_->scheduler());
  Spawn("job", [&]() MILLRACE_MAY_SUSPEND {
    rest.CoSleepUntil(10);
    log_.push_back("deadline");
    rest.CoSleepUntil(100);
    log_.push_back("kicked");
    rest.CoSleepUntil(kNever);
    log_.push_back("unparked");
  });
  engine_->RunUntil([&] { return log_.size() == 1 && rest.is_sleeping(); });
  EXPECT_EQ(engine_->clock().Now(), 10);
  EXPECT_TRUE(rest.has_deadline());
  rest.Kick();
  EXPECT_FALSE(rest.is_sleeping());
  EXPECT_FALSE(rest.has_deadline());  // although the sleeper has not run yet
  rest.Kick();                        // nobody sleeps: not remembered
  Settle();
  EXPECT_EQ(log_, (Log{"deadline", "kicked"}));
  EXPECT_TRUE(rest.is_sleeping());
  EXPECT_FALSE(rest.has_deadline());
  rest.Kick();
  ExpectAllDone();
  EXPECT_EQ(log_, (Log{"deadline", "kicked", "unparked"}));
  EXPECT_EQ(engine_->clock().Now(), 10);
}

// The first sleeper was woken and has not run; it would disarm the second one's timer.
TEST(SleepDeathTest, ASecondSleeperIsRefusedUntilTheFirstHasLeft) {
  auto die = [] {
    auto engine = SimulatedEngine();
    InterruptibleSleep rest(engine->scheduler());
    (void)engine->Run([&]() MILLRACE_MAY_SUSPEND {
      TaskScope scope("test");
      scope.Spawn("first", [&]() MILLRACE_MAY_SUSPEND { rest.CoSleepUntil(10); });
      CoYield();
      rest.Kick();
      rest.CoSleepUntil(20);
      return scope.CoJoin();
    });
  };
  EXPECT_DEATH(die(), "two coroutines share one interruptible sleep");
}

}  // namespace
}  // namespace millrace::sync_test
