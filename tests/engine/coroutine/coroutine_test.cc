#include "millrace/engine/coroutine/coroutine.h"

#include <unistd.h>

#include <array>
#include <cfenv>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/sync/event.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/support/simulation.h"

namespace millrace::coroutine_test {
namespace {

TEST(Coroutine, KnowsItsNameIdAndScheduler) {
  auto engine = SimulatedEngine();
  EXPECT_EQ(Coroutine::Current(), nullptr);
  uint64_t first = 0;
  uint64_t second = 0;
  TaskScope scope(engine->scheduler(), "test");
  scope.Spawn("stream0/copy", [&]() MILLRACE_MAY_SUSPEND {
    first = Coroutine::Current()->id();
    EXPECT_EQ(Coroutine::Current()->name(), "stream0/copy");
    EXPECT_EQ(&Coroutine::Current()->scheduler(), &engine->scheduler());
  });
  EXPECT_TRUE(engine->RunUntil([&] { return scope.live() == 0; }));
  // The second one gets the first one's stack and state, but never its id.
  scope.Spawn("next", [&]() MILLRACE_MAY_SUSPEND { second = Coroutine::Current()->id(); });
  EXPECT_TRUE(engine->RunUntil([&] { return scope.live() == 0; }));
  EXPECT_NE(first, 0u);
  EXPECT_GT(second, first);
  EXPECT_EQ(Coroutine::Current(), nullptr);
}

TEST(Coroutine, NameThatIsTooLongKeepsBothEnds) {
  auto engine = SimulatedEngine();
  const std::string node(100, 'n');
  std::string name;
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("test");
    scope.Spawn("stream-" + node + "/copy-1",
                [&]() MILLRACE_MAY_SUSPEND { name = Coroutine::Current()->name(); });
    return scope.CoJoin();
  });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(name.size(), 55u);
  EXPECT_EQ(name.substr(0, 7), "stream-");
  EXPECT_EQ(name.substr(name.size() - 7), "/copy-1");
  EXPECT_NE(name.find("..."), std::string::npos);
}

TEST(Coroutine, TenThousandAreAliveAtOnce) {
  constexpr int kCoroutines = 10'000;
  StackPool stacks;
  auto engine = SimulatedEngine(nullptr, &stacks);
  Event go("go");
  int passed = 0;
  TaskScope scope(engine->scheduler(), "crowd");
  for (int i = 0; i < kCoroutines; ++i) {
    ASSERT_TRUE(scope.Spawn("member", [&]() MILLRACE_MAY_SUSPEND {
      go.CoWait();
      ++passed;
    }));
  }
  EXPECT_FALSE(engine->RunUntil([] { return false; }));
  EXPECT_EQ(stacks.in_use(), static_cast<size_t>(kCoroutines));
  EXPECT_EQ(engine->scheduler().live_coroutines(), static_cast<size_t>(kCoroutines));
  go.Set();
  EXPECT_TRUE(engine->RunUntil([&] { return scope.live() == 0; }));
  EXPECT_EQ(passed, kCoroutines);
  EXPECT_EQ(stacks.in_use(), 0u);
}

TEST(Coroutine, ClosureIsDestroyedBeforeItsScopeJoins) {
  auto engine = SimulatedEngine();
  auto token = std::make_shared<int>(7);
  TaskScope scope(engine->scheduler(), "test");
  scope.Spawn("holder", [token]() MILLRACE_MAY_SUSPEND { CoYield(); });
  EXPECT_EQ(token.use_count(), 2);
  EXPECT_TRUE(engine->RunUntil([&] { return scope.live() == 0; }));
  EXPECT_EQ(token.use_count(), 1);
}

// The first coroutine leaves the red zones of its outermost frames where the larger closure of the
// second one goes. Fails under ASan if a stack is reused without clearing them.
TEST(Coroutine, LargerClosureGoesWhereFramesOfAnEarlierCoroutineWere) {
  auto engine = SimulatedEngine();
  std::array<uint64_t, 500> data;
  data.fill(42);
  uint64_t sum = 0;
  TaskScope scope(engine->scheduler(), "test");
  scope.Spawn("small", []() MILLRACE_MAY_SUSPEND {
    char frame[64];
    std::snprintf(frame, sizeof(frame), "%s", "leaves a red zone");
    CoYield();
    EXPECT_EQ(frame[0], 'l');
  });
  EXPECT_TRUE(engine->RunUntil([&] { return scope.live() == 0; }));
  scope.Spawn("large", [&sum, data]() MILLRACE_MAY_SUSPEND {
    for (uint64_t each : data) sum += each;
  });
  EXPECT_TRUE(engine->RunUntil([&] { return scope.live() == 0; }));
  EXPECT_EQ(sum, 42u * 500u);
}

TEST(Coroutine, OverAlignedClosureIsAligned) {
  struct alignas(256) Aligned {
    char bytes[256] = {};
  };
  auto engine = SimulatedEngine();
  uintptr_t address = 1;
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("test");
    scope.Spawn("aligned", [&address, aligned = Aligned()]() MILLRACE_MAY_SUSPEND {
      address = reinterpret_cast<uintptr_t>(&aligned);
    });
    return scope.CoJoin();
  });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(address % 256, 0u);
}

// Exceptions of a body's own libraries work as long as they stay in one coroutine.
TEST(Coroutine, ExceptionsAreThrownAndCaughtInsideSeveralCoroutinesInTurn) {
  auto engine = SimulatedEngine();
  int caught = 0;
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("test");
    for (int i = 0; i < 3; ++i) {
      scope.Spawn("thrower", [&caught, i]() MILLRACE_MAY_SUSPEND {
        for (int round = 0; round < 3; ++round) {
          try {
            CoYield();
            throw std::runtime_error(std::to_string(i));
          } catch (const std::runtime_error& error) {
            caught += error.what() == std::to_string(i);
          }
        }
      });
    }
    return scope.CoJoin();
  });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(caught, 9);
}

TEST(Coroutine, RoundingModeBelongsToOneCoroutine) {
  auto engine = SimulatedEngine();
  int own = -1;
  int other = -1;
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("test");
    scope.Spawn("rounds up", [&]() MILLRACE_MAY_SUSPEND {
      std::fesetround(FE_UPWARD);
      CoYield();
      own = std::fegetround();
      std::fesetround(FE_TONEAREST);
    });
    scope.Spawn("other", [&]() MILLRACE_MAY_SUSPEND { other = std::fegetround(); });
    return scope.CoJoin();
  });
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(own, FE_UPWARD);
  EXPECT_EQ(other, FE_TONEAREST);
}

TEST(Coroutine, SpawnWithoutAStackFailsTheScopeAndSaysWhatToDo) {
  struct NoStack final : Decider {
    size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
      return kind == ChoiceKind::kFault && options[0].name == "unlucky" ? 1 : 0;
    }
  } decider;
  auto engine = SimulatedEngine(&decider);
  bool sibling_was_cancelled = false;
  absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("test");
    scope.Spawn("sibling", [&]() MILLRACE_MAY_SUSPEND {
      CoYield();
      sibling_was_cancelled = Coroutine::Current()->is_cancelled();
    });
    EXPECT_FALSE(scope.Spawn("unlucky", []() MILLRACE_MAY_SUSPEND { ADD_FAILURE(); }));
    return scope.CoJoin();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(status.ToString().find("cannot start coroutine 'unlucky'"), std::string::npos);
  EXPECT_NE(status.ToString().find("max_map_count"), std::string::npos);
  EXPECT_TRUE(sibling_was_cancelled);
}

// An engine may be driven from whatever stack its host is on: the host's own, or a coroutine of
// another engine. ASan notices if the switch back assumes the wrong stack.
TEST(Coroutine, EngineIsDrivenFromDifferentStacks) {
  auto outer = SimulatedEngine();
  auto inner = SimulatedEngine();
  int rounds = 0;
  TaskScope scope(inner->scheduler(), "inner");
  scope.Spawn("inner", [&]() MILLRACE_MAY_SUSPEND {
    for (; rounds < 6; ++rounds) CoYield();
  });
  auto drive = [&] {
    char frame[256] = {};
    EXPECT_TRUE(inner->scheduler().RunOneStep());
    EXPECT_EQ(frame[rounds], 0);
  };
  drive();
  absl::Status status = outer->Run([&]() MILLRACE_MAY_SUSPEND {
    drive();
    EXPECT_EQ(Coroutine::Current()->name(), "main");
    CoYield();
    drive();
  });
  EXPECT_TRUE(status.ok());
  EXPECT_TRUE(inner->RunUntil([&] { return scope.live() == 0; }));
  EXPECT_EQ(rounds, 6);
}

TEST(StackPool, IsSharedByEnginesOneAfterAnother) {
  StackPool stacks;
  const void* places[2] = {};
  for (const void*& place : places) {
    auto engine = SimulatedEngine(nullptr, &stacks);
    EXPECT_TRUE(engine->Run([&]() MILLRACE_MAY_SUSPEND { place = Coroutine::Current(); }).ok());
  }
  EXPECT_EQ(places[0], places[1]);
  EXPECT_EQ(stacks.in_use(), 0u);
}

// ---- What the run-time half of the rules refuses ------------------------------------------------

// Each level writes one frame of 48 KiB at its far end only, so a guard of one page would be
// stepped over. ASan does not look at it: it would report the overflow before the guard does.
__attribute__((noinline, no_sanitize("address"))) int Overflow(int depth) {
  volatile char frame[48 * 1024];
  frame[0] = static_cast<char>(depth);
  if (depth == 0) return 0;
  const int below = Overflow(depth - 1);
  asm volatile("" : : "r"(frame) : "memory");  // or the compiler makes a loop of it
  return below + frame[0];
}

TEST(CoroutineDeathTest, StackOverflowHitsTheGuard) {
  auto overflow = [] {
    auto engine = SimulatedEngine();
    // On the second stack, so that without a guard the overflow would hit the first one, and live.
    (void)engine->Run([&]() MILLRACE_MAY_SUSPEND {
      TaskScope scope("test");
      scope.Spawn("deep", []() MILLRACE_MAY_SUSPEND { Overflow(8); });
      return scope.CoJoin();
    });
    _exit(0);
  };
  EXPECT_DEATH(overflow(), "");
}

void SuspendFromAPlainFunction() MILLRACE_NO_ANALYSIS { CoYield(); }

TEST(CoroutineDeathTest, SuspendingOutsideACoroutineIsRefused) {
  EXPECT_DEATH(SuspendFromAPlainFunction(), "outside a coroutine");
}

void SleepInAPlainFunction() MILLRACE_NO_ANALYSIS { CoSleepFor(kMillisecond).IgnoreError(); }

TEST(CoroutineDeathTest, SleepingOutsideACoroutineIsRefused) {
  EXPECT_DEATH(SleepInAPlainFunction(), "outside a coroutine");
  // Where a scheduler is driven, but by a callback.
  auto engine = SimulatedEngine();
  engine->Post(&SleepInAPlainFunction);
  EXPECT_DEATH(engine->PollOnce(), "outside a coroutine");
}

TEST(CoroutineDeathTest, SuspendingWithAViewOpenIsRefused) {
  auto engine = SimulatedEngine();
  EXPECT_DEATH((void)engine->Run([&]() MILLRACE_MAY_SUSPEND {
    engine->scheduler().OnViewOpened();
    CoYield();
  }),
               "G9");
}

TEST(CoroutineDeathTest, EndingWithAViewOpenIsRefused) {
  auto engine = SimulatedEngine();
  EXPECT_DEATH(
      (void)engine->Run([&]() MILLRACE_MAY_SUSPEND { engine->scheduler().OnViewOpened(); }), "G9");
}

TEST(CoroutineDeathTest, DrivingAnEngineWithAViewOpenIsRefused) {
  auto engine = SimulatedEngine();
  engine->scheduler().OnViewOpened();
  EXPECT_DEATH((void)engine->Run([&]() MILLRACE_MAY_SUSPEND {}), "G9");
  engine->scheduler().OnViewClosed();
}

TEST(CoroutineDeathTest, AnExceptionThatLeavesABodyTerminates) {
  auto engine = SimulatedEngine();
  EXPECT_DEATH((void)engine->Run([&]() MILLRACE_MAY_SUSPEND { throw std::runtime_error("stray"); }),
               "stray");
}

TEST(CoroutineDeathTest, DrivingAnEngineFromItsOwnCoroutineIsRefused) {
  auto engine = SimulatedEngine();
  EXPECT_DEATH((void)engine->Run([&]() MILLRACE_MAY_SUSPEND { engine->scheduler().RunOneStep(); }),
               "nested event loop");
}

TEST(CoroutineDeathTest, DrivingAnEngineFromAPostedFunctionIsRefused) {
  auto engine = SimulatedEngine();
  engine->Post([&] { engine->PollOnce(); });
  EXPECT_DEATH(engine->PollOnce(), "nested event loop");
}

TEST(CoroutineDeathTest, EngineDestroyedWithALiveCoroutineNamesIt) {
  auto die = [] {
    auto engine = SimulatedEngine();
    Event never("never");
    TaskScope scope(engine->scheduler(), "test");
    scope.Spawn("orphan", [&]() MILLRACE_MAY_SUSPEND { never.CoWait(); });
    engine->RunUntil([] { return false; });
    engine.reset();
  };
  EXPECT_DEATH(die(), "'orphan' waits at event.wait for event 'never'");
}

}  // namespace
}  // namespace millrace::coroutine_test
