// What does a coroutine cost: a switch pair, and create + run + destroy, against bare
// Boost.Context?
//
// The peer is boost::context::fiber on a pooled stack of the same size, without guard pages, names,
// scopes or a run queue. Goal P16: at most 1.15 times bare Boost.Context (floor 1.5), and at most
// 40 ns for a switch pair through the run queue.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>
#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>

#include "bench/compare.h"
#include "millrace/engine/coroutine/context_switch.h"
#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/scheduler/scheduler.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/event.h"

namespace millrace::bench {
namespace {

namespace context = boost::context;

constexpr size_t kStackBytes = 64 * 1024;
constexpr size_t kBatch = 20'000;

// `count` fibers that are resumed in turn and yield for ever. The last resume lets them return: a
// suspended fiber would be unwound by an exception.
class PeerFibers {
 public:
  explicit PeerFibers(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      fibers_.emplace_back(std::allocator_arg, stacks_, [this](context::fiber&& host) {
        while (!is_over_) host = std::move(host).resume();
        return std::move(host);
      });
    }
  }
  ~PeerFibers() {
    is_over_ = true;
    SwitchPairs(fibers_.size());
  }
  void SwitchPairs(size_t pairs) {
    for (size_t i = 0; i < pairs; ++i) {
      fibers_[next_] = std::move(fibers_[next_]).resume();
      if (++next_ == fibers_.size()) next_ = 0;
    }
  }

 private:
  context::pooled_fixedsize_stack stacks_{kStackBytes};
  std::vector<context::fiber> fibers_;
  size_t next_ = 0;
  bool is_over_ = false;
};

// Into a coroutine and back, nothing else.
void BareSwitchPair(benchmark::State& state) {
  struct Pair {
    ExecutionContext host;
    ExecutionContext coroutine;
  } pair;
  StackPool stacks;
  const Stack stack = stacks.Take();
  pair.host.InitAsThread();
  pair.coroutine.InitOnStack(
      stack, 0,
      [](void* argument) {
        auto* self = static_cast<Pair*>(argument);
        while (true) ExecutionContext::Switch(self->coroutine, self->host);
      },
      &pair);
  PeerFibers peer(1);
  Compare(
      state, kBatch,
      [&](size_t pairs) {
        for (size_t i = 0; i < pairs; ++i) ExecutionContext::Switch(pair.host, pair.coroutine);
      },
      [&](size_t pairs) { peer.SwitchPairs(pairs); });
  pair.coroutine.Release();
  stacks.Return(stack);
}

// CoYield() in each of N coroutines: to the end of the run queue, back to the scheduler, and into
// the next one. The peer resumes N fibers in turn.
void SwitchPairThroughRunQueue(benchmark::State& state) {
  const auto coroutines = static_cast<size_t>(state.range(0));
  RealClock clock;
  Scheduler scheduler(clock);
  TaskScope scope(scheduler, "bench");
  bool is_over = false;
  for (size_t i = 0; i < coroutines; ++i) {
    scope.Spawn("yielder", [&]() MILLRACE_MAY_SUSPEND {
      while (!is_over) CoYield();
    });
  }
  PeerFibers peer(coroutines);
  Compare(
      state, kBatch, [&](size_t pairs) { scheduler.RunReady(pairs); },
      [&](size_t pairs) { peer.SwitchPairs(pairs); });
  is_over = true;
  while (scheduler.RunReady(1024) > 0) {
  }
}

// Two coroutines that wake each other through events: what a wait costs, with its waiter, its
// wake and its label. One operation is one wait. The peer resumes two fibers in turn.
void WaitAndWake(benchmark::State& state) {
  RealClock clock;
  Scheduler scheduler(clock);
  TaskScope scope(scheduler, "bench");
  Event ping("ping");
  Event pong("pong");
  bool is_over = false;
  auto player = [&is_over](Event* mine, Event* other) {
    return [&is_over, mine, other]() MILLRACE_MAY_SUSPEND {
      while (!is_over) {
        mine->CoWait();
        mine->Reset();
        other->Set();
      }
    };
  };
  scope.Spawn("ping", player(&ping, &pong));
  scope.Spawn("pong", player(&pong, &ping));
  scheduler.RunReady(2);
  ping.Set();
  PeerFibers peer(2);
  Compare(
      state, kBatch, [&](size_t pairs) { scheduler.RunReady(pairs); },
      [&](size_t pairs) { peer.SwitchPairs(pairs); });
  is_over = true;
  ping.Set();
  pong.Set();
  while (scheduler.RunReady(1024) > 0) {
    ping.Set();
    pong.Set();
  }
}

// Spawn N into a scope, run them to the end, give the stacks back. One operation is one coroutine.
void CreateRunDestroy(benchmark::State& state) {
  const auto at_once = static_cast<size_t>(state.range(0));
  RealClock clock;
  Scheduler scheduler(clock);
  TaskScope scope(scheduler, "bench");
  context::pooled_fixedsize_stack stacks(kStackBytes);
  int64_t ran = 0;
  Compare(
      state, kBatch,
      [&](size_t count) {
        for (size_t i = 0; i < count; i += at_once) {
          for (size_t j = 0; j < at_once; ++j) {
            scope.Spawn("bench/short", [&ran]() MILLRACE_MAY_SUSPEND { ++ran; });
          }
          scheduler.RunReady(at_once);
        }
      },
      [&](size_t count) {
        for (size_t i = 0; i < count; ++i) {
          context::fiber fiber(std::allocator_arg, stacks, [&ran](context::fiber&& host) {
            ++ran;
            return std::move(host);
          });
          fiber = std::move(fiber).resume();
        }
      });
  benchmark::DoNotOptimize(ran);
}

BENCHMARK(BareSwitchPair)->UseManualTime();
BENCHMARK(SwitchPairThroughRunQueue)->Arg(1)->Arg(8)->Arg(64)->Arg(1000)->UseManualTime();
BENCHMARK(WaitAndWake)->UseManualTime();
BENCHMARK(CreateRunDestroy)->Arg(1)->Arg(4)->Arg(16)->UseManualTime();

}  // namespace
}  // namespace millrace::bench
