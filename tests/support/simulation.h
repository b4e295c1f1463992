// Simulated engines for tests, and the loop that explores a scenario.
//
//   Explore([](Engine& engine, uint64_t seed) {
//     absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND { ... });
//     EXPECT_TRUE(status.ok());
//   });
#ifndef MILLRACE_TESTS_SUPPORT_SIMULATION_H_
#define MILLRACE_TESTS_SUPPORT_SIMULATION_H_

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/decider.h"

namespace millrace {

// A simulated engine whose graphs look at what every edit has touched (Scheduler::SetChecksEdits).
// What graphs and jobs say of their invariants is asked after one step in `steps_per_look`, and in
// 61 of a run that is long; what does not hold fails the test, once. Every step is for what runs
// once, or a few times.
std::unique_ptr<Engine> SimulatedEngine(Engine::Options options, uint64_t steps_per_look = 1);
std::unique_ptr<Engine> SimulatedEngine(Decider* decider = nullptr, StackPool* stacks = nullptr);

using SeededScenario = absl::FunctionRef<void(Engine& engine, uint64_t seed)>;

// Runs the scenario in production's order, as seed 0, once without a decider and once with the one
// that always takes the first option; both must take as many steps and end at one time. Then for
// each of Seeds(cost) three times: twice from the seed and once from the deviations that the first
// run recorded. All three must take the same steps (equal trace hashes), and each must leave no
// coroutine and no stack behind. Stops at the first seed that fails and says how to run it alone.
// Coroutines that wait for each other in a cycle (O10) are looked for meanwhile, whoever else can
// run; they end the test. Every engine has the observer, if there is one.
void Explore(SeededScenario scenario, uint64_t cost = 1, RandomDecider::Faults faults = {},
             EngineObserver* observer = nullptr);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_SIMULATION_H_
