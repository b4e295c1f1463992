// How many schedules a second can one core explore, engine creation and teardown included?
//
// Goal P17: at least 10,000 small schedules a second and core (floor), better 40,000. Small means 6
// coroutines of 25 steps each, every step chosen at random among all that can run. Each schedule
// has an engine and a decider of its own; all of them share a pool of stacks, as an explorer's do.
// Counters: "schedules" and "steps" a second.
#include <cstdint>
#include <memory>

#include <benchmark/benchmark.h>

#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/engine/sync/mutex.h"

namespace millrace::bench {
namespace {

constexpr int kCoroutines = 6;
constexpr int kSteps = 25;

// Runs one schedule of the scenario; returns the number of its steps.
template <typename Scenario>
uint64_t RunSchedule(uint64_t seed, StackPool* stacks, RandomDecider::Recording recording,
                     Scenario&& scenario) {
  RandomDecider decider(seed, {}, recording);
  auto engine = Engine::Create({.simulated = true, .decider = &decider, .stacks = stacks});
  benchmark::DoNotOptimize((*engine)->Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("actors");
    for (int i = 0; i < kCoroutines; ++i) scope.Spawn("actor", scenario);
    return scope.CoJoin();
  }));
  benchmark::DoNotOptimize((*engine)->scheduler().trace_hash());
  return (*engine)->scheduler().steps();
}

template <typename Scenario>
void RunSchedules(benchmark::State& state, StackPool* stacks, RandomDecider::Recording recording,
                  Scenario&& scenario) {
  uint64_t seed = 0;
  uint64_t steps = 0;
  for (auto _ : state) steps += RunSchedule(++seed, stacks, recording, scenario);
  state.counters["schedules"] =
      benchmark::Counter(static_cast<double>(seed), benchmark::Counter::kIsRate);
  state.counters["steps"] =
      benchmark::Counter(static_cast<double>(steps), benchmark::Counter::kIsRate);
}

void CoStepThrough() MILLRACE_MAY_SUSPEND {
  for (int step = 1; step < kSteps; ++step) CoYield("bench.step");
}

// Nothing but steps: what the seam itself costs.
void StepsOnly(benchmark::State& state) {
  StackPool stacks;
  RunSchedules(state, &stacks, RandomDecider::Recording::kOff,
               []() MILLRACE_MAY_SUSPEND { CoStepThrough(); });
}

// The same, every deviation recorded with its label: what replaying a failed seed costs.
void StepsRecorded(benchmark::State& state) {
  StackPool stacks;
  RunSchedules(state, &stacks, RandomDecider::Recording::kOn,
               []() MILLRACE_MAY_SUSPEND { CoStepThrough(); });
}

// The same, every engine with a stack pool of its own: what mapping stacks costs.
void StepsWithStacksMappedEachTime(benchmark::State& state) {
  RunSchedules(state, nullptr, RandomDecider::Recording::kOff,
               []() MILLRACE_MAY_SUSPEND { CoStepThrough(); });
}

// All contend for one mutex, which they hold across a step, so wake orders are chosen too.
void ContendedMutex(benchmark::State& state) {
  StackPool stacks;
  Mutex mutex("shared");
  RunSchedules(state, &stacks, RandomDecider::Recording::kOff, [&]() MILLRACE_MAY_SUSPEND {
    for (int step = 0; step < kSteps / 2; ++step) {
      MutexLock lock(CoHold(mutex));
      CoYield("bench.locked");
    }
  });
}

BENCHMARK(StepsOnly);
BENCHMARK(StepsRecorded);
BENCHMARK(StepsWithStacksMappedEachTime);
BENCHMARK(ContendedMutex);

}  // namespace
}  // namespace millrace::bench
