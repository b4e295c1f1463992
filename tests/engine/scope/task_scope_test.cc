#include "millrace/engine/scope/task_scope.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/engine.h"
#include "millrace/engine/sync/event.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/support/simulation.h"

namespace millrace::task_scope_test {
namespace {

using absl::IsCancelled;

TEST(TaskScope, JoinReturnsTheFirstErrorAndItCancelsTheSiblings) {
  auto engine = SimulatedEngine();
  absl::Status sibling;
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("test");
    scope.Spawn("sibling", [&]() MILLRACE_MAY_SUSPEND {
      sibling = CoSleepFor(kSecond);
      return absl::DataLossError("second");
    });
    scope.Spawn("failing", []() MILLRACE_MAY_SUSPEND { return absl::NotFoundError("first"); });
    return scope.CoJoin();
  });
  EXPECT_EQ(status, absl::NotFoundError("first"));
  EXPECT_TRUE(IsCancelled(sibling));
  EXPECT_EQ(engine->clock().Now(), 0);
}

TEST(TaskScope, JoinOfAnEmptyScopeReturnsAtOnce) {
  auto engine = SimulatedEngine();
  EXPECT_TRUE(engine
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    TaskScope scope("empty");
                    return scope.CoJoin();
                  })
                  .ok());
}

TEST(TaskScope, SeveralMayJoin) {
  auto engine = SimulatedEngine();
  int joined = 0;
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope work("work");
    work.Spawn("worker", []() MILLRACE_MAY_SUSPEND { return CoSleepFor(1); });
    TaskScope joiners("joiners");
    for (int i = 0; i < 3; ++i) {
      joiners.Spawn("joiner", [&]() MILLRACE_MAY_SUSPEND {
        EXPECT_TRUE(work.CoJoin().ok());
        ++joined;
      });
    }
    return joiners.CoJoin();
  });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(joined, 3);
}

TEST(TaskScope, IsUsedAgainAfterItJoined) {
  auto engine = SimulatedEngine();
  int ran = 0;
  EXPECT_TRUE(engine
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    TaskScope scope("test");
                    for (int round = 0; round < 3; ++round) {
                      scope.Spawn("worker", [&]() MILLRACE_MAY_SUSPEND { ++ran; });
                      EXPECT_TRUE(scope.CoJoin().ok());
                      EXPECT_EQ(scope.live(), 0u);
                    }
                  })
                  .ok());
  EXPECT_EQ(ran, 3);
}

TEST(TaskScope, ChildrenMaySpawnIntoTheirOwnScope) {
  auto engine = SimulatedEngine();
  int ran = 0;
  EXPECT_TRUE(engine
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    TaskScope scope("test");
                    scope.Spawn("first", [&]() MILLRACE_MAY_SUSPEND {
                      scope.Spawn("second", [&]() MILLRACE_MAY_SUSPEND { ++ran; });
                    });
                    return scope.CoJoin();
                  })
                  .ok());
  EXPECT_EQ(ran, 1);
}

// ---- Cancellation -------------------------------------------------------------------------------

TEST(TaskScope, CancelReachesScopesOpenedBelowItAtAnyDepth) {
  auto engine = SimulatedEngine();
  std::vector<absl::Status> slept;
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope outer("outer");
    outer.Spawn("middle", [&]() MILLRACE_MAY_SUSPEND {
      TaskScope inner("inner");
      inner.Spawn("leaf", [&]() MILLRACE_MAY_SUSPEND {
        TaskScope innermost("innermost");
        innermost.Spawn("leaf's leaf",
                        [&]() MILLRACE_MAY_SUSPEND { slept.push_back(CoSleepFor(kSecond)); });
        (void)innermost.CoJoin();
        EXPECT_TRUE(innermost.is_cancelled());
      });
      return inner.CoJoin();
    });
    for (int i = 0; i < 4; ++i) CoYield();
    EXPECT_TRUE(slept.empty());
    outer.Cancel();
    return outer.CoJoin();
  });
  EXPECT_TRUE(status.ok()) << status;  // nobody returned the cancellation
  ASSERT_EQ(slept.size(), 1u);
  EXPECT_TRUE(IsCancelled(slept[0]));
}

TEST(TaskScope, CancelOfAnInnerScopeLeavesItsOpenerAlone) {
  auto engine = SimulatedEngine();
  EXPECT_TRUE(engine
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    TaskScope inner("inner");
                    inner.Spawn("leaf", [&]() MILLRACE_MAY_SUSPEND { return CoSleepFor(kSecond); });
                    CoYield();
                    inner.Cancel();
                    EXPECT_TRUE(IsCancelled(inner.CoJoin()));
                    EXPECT_FALSE(Coroutine::Current()->is_cancelled());
                    return CoSleepFor(1);
                  })
                  .ok());
}

TEST(TaskScope, WhatStartsInACancelledScopeStartsCancelled) {
  auto engine = SimulatedEngine();
  int checked = 0;
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("test");
    scope.Cancel();
    scope.Spawn("late", [&]() MILLRACE_MAY_SUSPEND {
      EXPECT_TRUE(Coroutine::Current()->is_cancelled());
      EXPECT_TRUE(IsCancelled(CoSleepFor(kSecond)));
      TaskScope opened_late("opened late");
      EXPECT_TRUE(opened_late.is_cancelled());
      opened_late.Spawn("later", [&]() MILLRACE_MAY_SUSPEND {
        EXPECT_TRUE(Coroutine::Current()->is_cancelled());
        ++checked;
      });
      return opened_late.CoJoin();
    });
    return scope.CoJoin();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(checked, 1);
}

TEST(TaskScope, AScopeOfTheSchedulerIsNotCancelledWithTheCoroutineThatMadeIt) {
  auto engine = SimulatedEngine();
  absl::Status slept = absl::UnknownError("never ran");
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("test");
    scope.Spawn("maker", [&]() MILLRACE_MAY_SUSPEND {
      TaskScope detached(engine->scheduler(), "detached");
      detached.Spawn("free", [&]() MILLRACE_MAY_SUSPEND { slept = CoSleepFor(1); });
      return detached.CoJoin();
    });
    CoYield();
    scope.Cancel();
    return scope.CoJoin();
  });
  EXPECT_TRUE(status.ok());
  EXPECT_TRUE(slept.ok()) << slept;
}

// R25: woken and cancelled in the same breath. The wake came first, so the wait succeeded; the
// cancel shows at the next cancellable wait.
TEST(TaskScope, CancelAfterTheWakeDoesNotUndoTheWake) {
  auto engine = SimulatedEngine();
  Event event("event");
  absl::Status first;
  absl::Status second;
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("test");
    scope.Spawn("waiter", [&]() MILLRACE_MAY_SUSPEND {
      first = event.CoWaitCancellable();
      second = CoSleepFor(kSecond);
    });
    CoYield();
    event.Set();
    scope.Cancel();
    return scope.CoJoin();
  });
  EXPECT_TRUE(status.ok());
  EXPECT_TRUE(first.ok()) << first;
  EXPECT_TRUE(IsCancelled(second));
}

TEST(TaskScope, CancelBeforeTheWakeLeavesTheWakeToSomebodyElse) {
  auto engine = SimulatedEngine();
  WaitQueue queue;
  absl::Status cancelled;
  bool other_woke = false;
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope doomed("doomed");
    TaskScope other("other");
    doomed.Spawn("cancelled", [&]() MILLRACE_MAY_SUSPEND {
      cancelled = queue.CoWaitCancellable("test", nullptr);
    });
    other.Spawn("other", [&]() MILLRACE_MAY_SUSPEND {
      queue.CoWait("test", nullptr);
      other_woke = true;
    });
    CoYield();
    doomed.Cancel();
    EXPECT_TRUE(queue.WakeOne());
    EXPECT_FALSE(queue.WakeOne());
    EXPECT_TRUE(doomed.CoJoin().ok());
    return other.CoJoin();
  });
  EXPECT_TRUE(status.ok());
  EXPECT_TRUE(IsCancelled(cancelled));
  EXPECT_TRUE(other_woke);
}

// ---- Against a model ----------------------------------------------------------------------------

// A random tree of scopes; each coroutine may cancel one of the scopes above it, or fail, and
// sleeps in between. Model: a coroutine is cancelled iff a scope on its way to the root was
// cancelled or failed; the tree counts down to nothing in every order of steps.
class ScopeTree {
 public:
  ScopeTree(Engine& engine, uint64_t seed) : engine_(engine), program_(seed, "program") {}

  void Run() {
    absl::Status status = engine_.Run([&]() MILLRACE_MAY_SUSPEND {
      CoGrow(3, nullptr);
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok());
    EXPECT_EQ(live_, 0);
  }

 private:
  struct Level {
    TaskScope* scope;
    const Level* above;
    bool is_cancelled = false;  // the model
  };

  static bool ShouldBeCancelled(const Level* level) {
    for (; level != nullptr; level = level->above) {
      if (level->is_cancelled) return true;
    }
    return false;
  }

  void CoGrow(int depth, const Level* above) MILLRACE_MAY_SUSPEND {
    if (depth == 0) return;
    TaskScope scope("level");
    Level level{&scope, above};
    EXPECT_EQ(scope.is_cancelled(), ShouldBeCancelled(&level));
    const uint64_t children = 1 + program_.Below(3);
    for (uint64_t i = 0; i < children; ++i) {
      ++live_;
      scope.Spawn("node", [&, depth]() MILLRACE_MAY_SUSPEND { return CoLive(depth, level); });
    }
    absl::Status status = scope.CoJoin();
    EXPECT_EQ(scope.live(), 0u);
    EXPECT_TRUE(status.ok() || level.is_cancelled) << status;
  }

  absl::Status CoLive(int depth, Level& level) MILLRACE_MAY_SUSPEND {
    Check(level);
    const Nanoseconds duration = static_cast<Nanoseconds>(program_.Below(3));
    const absl::Status slept = CoSleepFor(duration);
    EXPECT_TRUE(slept.ok() || ShouldBeCancelled(&level)) << slept;
    Check(level);
    CoGrow(depth - 1, &level);
    Check(level);
    --live_;
    switch (program_.Below(8)) {
      case 0:
        level.is_cancelled = true;
        return absl::DataLossError("chosen");
      case 1:
        level.is_cancelled = true;
        level.scope->Cancel();
        break;
      default:
        break;
    }
    return absl::OkStatus();
  }

  static void Check(const Level& level) {
    EXPECT_EQ(Coroutine::Current()->is_cancelled(), ShouldBeCancelled(&level));
  }

  Engine& engine_;
  RandomStream program_;
  int live_ = 0;
};

TEST(TaskScope, RandomTreesCancelExactlyWhatIsBelowAndAlwaysJoin) {
  Explore([](Engine& engine, uint64_t seed) { ScopeTree(engine, seed).Run(); });
}

// ---- Refused ------------------------------------------------------------------------------------

TEST(TaskScopeDeathTest, DestroyedBeforeItJoinedIsRefused) {
  auto engine = SimulatedEngine();
  EXPECT_DEATH(
      (void)engine->Run([&]() MILLRACE_MAY_SUSPEND {
        TaskScope scope("hasty");
        scope.Spawn("child", []() MILLRACE_MAY_SUSPEND { CoYield(); });
      }),
      "scope 'hasty' destroyed before it joined; alive: '.*'; CoJoin\\(\\) it on every path");
}

TEST(TaskScopeDeathTest, OpenedOutsideACoroutineWithoutASchedulerIsRefused) {
  EXPECT_DEATH(TaskScope scope("nowhere"), "outside a coroutine");
}

}  // namespace
}  // namespace millrace::task_scope_test
