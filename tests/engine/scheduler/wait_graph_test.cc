// Who waits for whom: deadlock reports, wait cycles, and what is not a deadlock.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/sync/event.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/engine/sync/range_lock.h"
#include "millrace/engine/sync/semaphore.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/support/seeds.h"
#include "tests/support/simulation.h"

namespace millrace::wait_graph_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// A lock whose waits can be cancelled, so that a test can take a deadlock apart again.
class BreakableLock final : public Waitable {
 public:
  explicit BreakableLock(std::string name) : name_(std::move(name)) {}

  absl::Status CoLock() MILLRACE_MAY_SUSPEND {
    while (owner_ != 0) {
      if (absl::Status status = waiters_.CoWaitCancellable("breakable.lock", this); !status.ok()) {
        return status;
      }
    }
    owner_ = Coroutine::Current()->id();
    return absl::OkStatus();
  }
  void Unlock() {
    owner_ = 0;
    waiters_.WakeOne();
  }
  void DescribeWait(WaitDescription& description) const override {
    description.object = "lock '" + name_ + "'";
    if (owner_ != 0) description.coroutines.push_back(owner_);
  }

 private:
  const std::string name_;
  uint64_t owner_ = 0;
  WaitQueue waiters_;
};

// Runs until nothing can happen any more; returns the deadlock report, empty if there is none.
std::string RunToDeadlock(Engine& engine) {
  engine.RunUntil([] { return false; });
  return engine.scheduler().FindDeadlock().value_or("");
}

// Ends what RunToDeadlock() left.
void Cancel(Engine& engine, TaskScope& scope) {
  scope.Cancel();
  EXPECT_TRUE(engine.RunUntil([&] { return scope.live() == 0; }));
}

TEST(Deadlock, ReportNamesWhoWaitsForWhatHeldByWhomAndTheCycle) {
  auto engine = SimulatedEngine();
  BreakableLock a("a");
  BreakableLock b("b");
  TaskScope scope(engine->scheduler(), "test");
  auto lock_both = [](BreakableLock* first, BreakableLock* second) {
    return [=]() MILLRACE_MAY_SUSPEND {
      absl::Status status = first->CoLock();
      CoYield();
      status = second->CoLock();
      if (status.ok()) second->Unlock();
      first->Unlock();
      return status;
    };
  };
  scope.Spawn("forward", lock_both(&a, &b));
  scope.Spawn("backward", lock_both(&b, &a));
  const std::string report = RunToDeadlock(*engine);
  EXPECT_THAT(report, HasSubstr("'forward' waits at breakable.lock for lock 'b', held by coroutine "
                                "'backward'"));
  EXPECT_THAT(report, HasSubstr("'backward' waits at breakable.lock for lock 'a', held by "
                                "coroutine 'forward'"));
  EXPECT_THAT(report, HasSubstr("wait cycle: 'forward' -> 'backward' -> 'forward'"));
  Cancel(*engine, scope);
}

TEST(DeadlockDeathTest, RunDiesWithTheReportOfTwoCrossedMutexes) {
  auto deadlock = [] {
    auto engine = SimulatedEngine();
    Mutex a("a");
    Mutex b("b");
    (void)engine->Run([&]() MILLRACE_MAY_SUSPEND {
      TaskScope scope("test");
      scope.Spawn("forward", [&]() MILLRACE_MAY_SUSPEND {
        MutexLock first(CoHold(a));
        CoYield();
        MutexLock second(CoHold(b));
      });
      scope.Spawn("backward", [&]() MILLRACE_MAY_SUSPEND {
        MutexLock first(CoHold(b));
        CoYield();
        MutexLock second(CoHold(a));
      });
      return scope.CoJoin();
    });
  };
  EXPECT_DEATH(deadlock(), "wait cycle: 'forward' -> 'backward' -> 'forward'");
}

TEST(Deadlock, AScopeWaitsForItsChildren) {
  auto engine = SimulatedEngine();
  Event never("never");
  TaskScope scope(engine->scheduler(), "outer");
  scope.Spawn("parent", [&]() MILLRACE_MAY_SUSPEND {
    TaskScope children("children");
    children.Spawn("child", [&]() MILLRACE_MAY_SUSPEND { return never.CoWaitCancellable(); });
    return children.CoJoin();
  });
  const std::string report = RunToDeadlock(*engine);
  EXPECT_THAT(report, HasSubstr("'parent' waits at scope.join for scope 'children', held by "
                                "coroutine 'child'"));
  EXPECT_THAT(report, HasSubstr("'child' waits at event.wait for event 'never'"));
  EXPECT_THAT(report, Not(HasSubstr("wait cycle")));
  Cancel(*engine, scope);
}

TEST(Deadlock, ACoroutineThatJoinsItsOwnScopeIsACycle) {
  auto engine = SimulatedEngine();
  TaskScope scope(engine->scheduler(), "own");
  auto* leaked = new TaskScope(engine->scheduler(), "own");
  auto die = [&] {
    leaked->Spawn("self", [&]() MILLRACE_MAY_SUSPEND { return leaked->CoJoin(); });
    MILLRACE_CHECK(false, RunToDeadlock(*engine));
  };
  EXPECT_DEATH(die(), "wait cycle: 'self' -> 'self'");
  delete leaked;
}

TEST(Deadlock, AHolderThatHasEndedIsSaidToHaveEnded) {
  auto engine = SimulatedEngine();
  BreakableLock lock("l");
  TaskScope scope(engine->scheduler(), "test");
  scope.Spawn("forgetful", [&]() MILLRACE_MAY_SUSPEND { return lock.CoLock(); });
  EXPECT_TRUE(engine->RunUntil([&] { return scope.live() == 0; }));
  scope.Spawn("waiter", [&]() MILLRACE_MAY_SUSPEND { return lock.CoLock(); });
  EXPECT_THAT(RunToDeadlock(*engine), HasSubstr("held by a coroutine that has ended"));
  Cancel(*engine, scope);
}

// The hold of a range lives longer than the coroutine that took it, whose place another one gets.
TEST(Deadlock, ARangeHeldForAnEndedCoroutineIsNotAscribedToItsSuccessor) {
  auto engine = SimulatedEngine();
  RangeLock lock("clusters");
  RangeLock::Hold hold;
  Event never("never");
  TaskScope scope(engine->scheduler(), "test");
  scope.Spawn("taker", [&]() MILLRACE_MAY_SUSPEND {
    lock.CoAcquire({0, 10}, LockMode::kExclusive, hold);
  });
  EXPECT_TRUE(engine->RunUntil([&] { return scope.live() == 0; }));
  scope.Spawn("successor", [&]() MILLRACE_MAY_SUSPEND { return never.CoWaitCancellable(); });
  scope.Spawn("waiter", [&]() MILLRACE_MAY_SUSPEND {
    RangeLock::Hold mine;
    lock.CoAcquire({5, 10}, LockMode::kShared, mine);
  });
  EXPECT_THAT(RunToDeadlock(*engine),
              HasSubstr("'waiter' waits at range_lock.acquire for bytes [5, 15) of range lock "
                        "'clusters', held by a coroutine that has ended"));
  hold.Release();
  Cancel(*engine, scope);
}

// a holds [0, 10) and waits for b's lock; b waits for [100, 110), which c holds. Fails if a waiter
// of a range is said to wait for everybody who holds any range.
TEST(WaitCycle, HoldersOfOtherRangesAreNotWaitedFor) {
  auto engine = SimulatedEngine();
  RangeLock ranges("r");
  BreakableLock lock("l");
  Event go("go");
  TaskScope scope(engine->scheduler(), "test");
  scope.Spawn("b", [&]() MILLRACE_MAY_SUSPEND {
    EXPECT_TRUE(lock.CoLock().ok());
    CoYield();
    RangeLock::Hold hold;
    ranges.CoAcquire({100, 10}, LockMode::kShared, hold);
    lock.Unlock();
  });
  scope.Spawn("c", [&]() MILLRACE_MAY_SUSPEND {
    RangeLock::Hold hold;
    ranges.CoAcquire({100, 10}, LockMode::kExclusive, hold);
    go.CoWait();
  });
  scope.Spawn("a", [&]() MILLRACE_MAY_SUSPEND {
    RangeLock::Hold hold;
    ranges.CoAcquire({0, 10}, LockMode::kExclusive, hold);
    EXPECT_TRUE(lock.CoLock().ok());
    lock.Unlock();
  });
  const std::string report = RunToDeadlock(*engine);
  EXPECT_THAT(report, HasSubstr("'b' waits at range_lock.acquire for bytes [100, 110) of range "
                                "lock 'r', held by coroutine 'c'\n"));
  EXPECT_THAT(report, Not(HasSubstr("wait cycle")));
  go.Set();
  EXPECT_TRUE(engine->RunUntil([&] { return scope.live() == 0; }));
}

TEST(Deadlock, ASemaphoreSaysHowManyPermitsAreWantedAndLeft) {
  auto engine = SimulatedEngine();
  Semaphore slots("slots", 3);
  TaskScope scope(engine->scheduler(), "test");
  scope.Spawn("greedy", [&]() MILLRACE_MAY_SUSPEND { return slots.CoAcquireCancellable(5); });
  EXPECT_THAT(RunToDeadlock(*engine), HasSubstr("for 5 of semaphore 'slots' (3 left)"));
  Cancel(*engine, scope);
}

// ---- What is not a deadlock ---------------------------------------------------------------------

struct Idle final : Waitable {
  void DescribeWait(WaitDescription& description) const override {
    description.object = "work";
    description.idle = true;
  }
};

TEST(Deadlock, IdleServicesAreNotOne) {
  auto engine = SimulatedEngine();
  Idle idle;
  WaitQueue work;
  TaskScope scope(engine->scheduler(), "test");
  scope.Spawn("reaper",
              [&]() MILLRACE_MAY_SUSPEND { return work.CoWaitCancellable("reaper.idle", &idle); });
  EXPECT_EQ(RunToDeadlock(*engine), "");
  EXPECT_THAT(engine->scheduler().DescribeWaits(),
              HasSubstr("'reaper' waits at reaper.idle for work (idle service)"));
  Cancel(*engine, scope);
}

TEST(Deadlock, WaitingForTimeOrForAnybodyWhoCanRunIsNotOne) {
  auto engine = SimulatedEngine();
  TaskScope scope(engine->scheduler(), "test");
  scope.Spawn("sleeper", []() MILLRACE_MAY_SUSPEND { return CoSleepFor(kSecond); });
  EXPECT_EQ(engine->scheduler().FindDeadlock(), std::nullopt);  // can run
  EXPECT_TRUE(engine->scheduler().RunOneStep());
  EXPECT_EQ(engine->scheduler().FindDeadlock(), std::nullopt);  // a timer is armed
  EXPECT_TRUE(engine->RunUntil([&] { return scope.live() == 0; }));
}

TEST(Deadlock, SleepingForEverIsOneAndDoesNotMoveTheClock) {
  auto engine = SimulatedEngine();
  TaskScope scope(engine->scheduler(), "test");
  scope.Spawn("sleeper", []() MILLRACE_MAY_SUSPEND { return CoSleepFor(kNever); });
  EXPECT_THAT(RunToDeadlock(*engine), HasSubstr("'sleeper' waits at sleep for a cancel"));
  EXPECT_EQ(engine->clock().Now(), 0);
  Cancel(*engine, scope);
}

TEST(Deadlock, PendingExternalCompletionsAreNotOne) {
  auto engine = SimulatedEngine();
  Event done("done");
  TaskScope scope(engine->scheduler(), "test");
  scope.Spawn("waiter", [&]() MILLRACE_MAY_SUSPEND { return done.CoWaitCancellable(); });
  engine->scheduler().AddPendingExternal(1);
  EXPECT_EQ(RunToDeadlock(*engine), "");
  engine->scheduler().AddPendingExternal(-1);
  EXPECT_NE(RunToDeadlock(*engine), "");
  Cancel(*engine, scope);
}

// ---- Against a model ----------------------------------------------------------------------------

// A chain of waits far longer than a coroutine's stack is deep, examined from a coroutine.
TEST(WaitCycle, IsSearchedWithoutRecursion) {
  constexpr int kLength = 5'000;
  auto engine = SimulatedEngine();
  std::vector<std::unique_ptr<BreakableLock>> locks;
  for (int i = 0; i <= kLength; ++i) locks.push_back(std::make_unique<BreakableLock>(StrCat(i)));
  TaskScope scope(engine->scheduler(), "test");
  bool finished = false;
  for (int i = 0; i < kLength; ++i) {
    scope.Spawn("link", [&, i]() MILLRACE_MAY_SUSPEND {
      if (!locks[static_cast<size_t>(i)]->CoLock().ok()) return;
      CoYield();
      if (locks[static_cast<size_t>(i + 1)]->CoLock().ok()) {
        while (!finished) CoYield();
        locks[static_cast<size_t>(i + 1)]->Unlock();
      }
      locks[static_cast<size_t>(i)]->Unlock();
    });
  }
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    for (int i = 0; i < 5; ++i) CoYield();
    EXPECT_EQ(engine->scheduler().FindWaitCycle(), std::nullopt);
    finished = true;
  });
  EXPECT_TRUE(status.ok());
  EXPECT_TRUE(engine->RunUntil([&] { return scope.live() == 0; }));
}

// Coroutines take two of three locks each, in random order. Whenever the engine comes to a halt,
// some must wait in a cycle, as each waits for one lock and each lock has one holder; and when all
// take them in the same order, it never halts.
TEST(WaitCycle, IsFoundWheneverLocksTakenInAnyOrderHalt) {
  int halts = 0;
  for (const bool in_order : {false, true}) {
    for (uint64_t seed : Seeds()) {
      RandomDecider decider(seed);
      auto engine = SimulatedEngine(&decider);
      RandomStream program(seed, "program");
      std::vector<std::unique_ptr<BreakableLock>> locks;
      for (int i = 0; i < 3; ++i) locks.push_back(std::make_unique<BreakableLock>(StrCat(i)));
      TaskScope scope(engine->scheduler(), "test");
      for (int i = 0; i < 3; ++i) {
        size_t first = program.Below(3);
        size_t second = (first + 1 + program.Below(2)) % 3;
        if (in_order && first > second) std::swap(first, second);
        scope.Spawn(StrCat("co-", i), [&, first, second]() MILLRACE_MAY_SUSPEND {
          absl::Status status = locks[first]->CoLock();
          if (!status.ok()) return status;
          CoYield();
          status = locks[second]->CoLock();
          if (status.ok()) locks[second]->Unlock();
          locks[first]->Unlock();
          return status;
        });
      }
      const bool halted = !engine->RunUntil([&] { return scope.live() == 0; });
      EXPECT_FALSE(halted && in_order);
      EXPECT_EQ(engine->scheduler().FindWaitCycle().has_value(), halted);
      EXPECT_EQ(engine->scheduler().FindDeadlock().has_value(), halted);
      halts += halted;
      Cancel(*engine, scope);
    }
  }
  EXPECT_GT(halts, 0);
}

// ---- Beside others that can run -----------------------------------------------------------------

// Somebody who looks again and again keeps the engine from ever coming to a halt.
void PollBesideOppositeLocks(Engine& engine) {
  Mutex first("first");
  Mutex second("second");
  const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("lockers");
    int holding = 0;
    int done = 0;
    auto lock_both = [&](Mutex& outer, Mutex& inner) MILLRACE_MAY_SUSPEND {
      MutexLock one(CoHold(outer));
      ++holding;
      while (holding < 2) CoYield();
      MutexLock two(CoHold(inner));
      ++done;
    };
    scope.Spawn("a", [&]() MILLRACE_MAY_SUSPEND { lock_both(first, second); });
    scope.Spawn("b", [&]() MILLRACE_MAY_SUSPEND { lock_both(second, first); });
    while (done < 2) CoSleepFor(1'000'000).IgnoreError();
    return scope.CoJoin();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST(WaitCycleDeathTest, IsReportedByASimulatedTestThatNeverHalts) {
  EXPECT_DEATH(Explore([](Engine& engine, uint64_t) { PollBesideOppositeLocks(engine); }),
               "O10, with MILLRACE_TEST_SEED=0: wait cycle: '[ab]' -> '[ab]' -> '[ab]'");
}

// Where invariants are not asked after every step, it takes a little longer.
TEST(WaitCycleDeathTest, IsReportedUnderEverySeed) {
  EXPECT_DEATH(Explore([](Engine& engine, uint64_t seed) {
                 if (seed == 3) PollBesideOppositeLocks(engine);
               }),
               "O10, with MILLRACE_TEST_SEED=3: wait cycle");
}

}  // namespace
}  // namespace millrace::wait_graph_test
