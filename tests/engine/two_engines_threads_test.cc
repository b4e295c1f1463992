// Two engines in one process, each on a thread of its own: they share nothing.
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/engine.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/engine/sync/sleep.h"

namespace millrace::two_engines_threads_test {
namespace {

// What one engine did: a hash over its schedule and the order in which its coroutines finished.
struct Outcome {
  uint64_t trace_hash = 0;
  std::vector<int> finished;
  bool operator==(const Outcome&) const = default;
};

Outcome RunContendedEngine(uint64_t seed) {
  RandomDecider decider(seed);
  auto engine = Engine::Create({.simulated = true, .decider = &decider});
  Outcome outcome;
  Mutex mutex("shared by the coroutines of one engine");
  absl::Status status = (*engine)->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("workers");
    for (int worker = 0; worker < 8; ++worker) {
      scope.Spawn("worker", [&, worker]() MILLRACE_MAY_SUSPEND {
        for (int round = 0; round < 20; ++round) {
          MutexLock lock(CoHold(mutex));
          CoYield();
        }
        outcome.finished.push_back(worker);
        return CoSleepFor(kMillisecond);
      });
    }
    return scope.CoJoin();
  });
  EXPECT_TRUE(status.ok()) << status;
  outcome.trace_hash = (*engine)->scheduler().trace_hash();
  return outcome;
}

TEST(TwoEngines, OnTwoThreadsEachRunAsIfAlone) {
  const Outcome first_alone = RunContendedEngine(1);
  const Outcome second_alone = RunContendedEngine(2);
  ASSERT_NE(first_alone, second_alone);
  Outcome first;
  Outcome second;
  std::thread other([&] { second = RunContendedEngine(2); });
  first = RunContendedEngine(1);
  other.join();
  EXPECT_EQ(first, first_alone);
  EXPECT_EQ(second, second_alone);
}

TEST(TwoEngines, OnOneThreadTakeTurnsWithoutMixing) {
  auto first = Engine::Create({.simulated = true});
  auto second = Engine::Create({.simulated = true});
  std::vector<int> order;
  TaskScope of_first((*first)->scheduler(), "first");
  TaskScope of_second((*second)->scheduler(), "second");
  of_first.Spawn("a", [&]() MILLRACE_MAY_SUSPEND {
    order.push_back(1);
    CoYield();
    order.push_back(3);
  });
  of_second.Spawn("b", [&]() MILLRACE_MAY_SUSPEND {
    order.push_back(2);
    CoYield();
    order.push_back(4);
  });
  for (int step = 0; step < 2; ++step) {
    EXPECT_TRUE((*first)->scheduler().RunOneStep());
    EXPECT_TRUE((*second)->scheduler().RunOneStep());
  }
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3, 4}));
  EXPECT_EQ(of_first.live() + of_second.live(), 0u);
}

// Each thread posts 1, 2, 3 …; per thread the order holds, and nothing is lost.
TEST(TwoEngines, PostedFunctionsArriveInOrderPerThread) {
  constexpr int kPostsPerThread = 500;
  auto engine = Engine::Create({.simulated = true});
  std::vector<int> arrived[2];
  auto post_all = [&](int thread) {
    for (int i = 0; i < kPostsPerThread; ++i) {
      (*engine)->Post([&arrived, thread, i] { arrived[thread].push_back(i); });
    }
  };
  std::thread one(post_all, 0);
  std::thread two(post_all, 1);
  auto count = [&] { return arrived[0].size() + arrived[1].size(); };
  // A simulated engine that has nothing to do returns at once; the posts come when they come.
  while (count() < 2 * kPostsPerThread) {
    (*engine)->RunUntil([&] { return count() == 2 * kPostsPerThread; });
  }
  one.join();
  two.join();
  for (const std::vector<int>& values : arrived) {
    for (int i = 0; i < kPostsPerThread; ++i) EXPECT_EQ(values[static_cast<size_t>(i)], i);
  }
}

}  // namespace
}  // namespace millrace::two_engines_threads_test
