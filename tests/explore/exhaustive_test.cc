#include "millrace/engine/explore/exhaustive.h"

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/footprint.h"
#include "millrace/engine/sync/event.h"
#include "tests/explore/racing_scenarios.h"
#include "tests/support/seeds.h"

namespace millrace::exhaustive_test {
namespace {

ExploreReport ExploreAll(const Scenario& scenario, Isolation isolation = Isolation::kChildProcess) {
  Exhaustive strategy;
  return Explore(
      scenario, strategy,
      {.budget = {.schedules = 1'000'000}, .isolation = isolation, .counts_traces = true});
}

TEST(Exhaustive, WithoutFootprintsSeesEveryOrderOnce) {
  const ExploreReport report = ExploreAll(Quiet(2, 2));
  EXPECT_TRUE(report.is_complete);
  EXPECT_EQ(report.traces, 6u);  // 4 choose 2
  EXPECT_EQ(report.schedules, 6u);
  const ExploreReport three = ExploreAll(Quiet(3, 2));
  EXPECT_EQ(three.traces, 90u);  // 6! / (2! 2! 2!)
  EXPECT_EQ(three.schedules, 90u);
}

TEST(Exhaustive, FindsALostUpdateAndADeadlock) {
  EXPECT_TRUE(ExploreAll(LostUpdate()).finding);
  EXPECT_TRUE(ExploreAll(OppositeLocks()).finding);
}

// Parties of `steps` steps, each of which touches the party's own object or one that all share.
Scenario Promising(int parties, int steps, bool is_shared) {
  return {"promising", [=](ScenarioRun& run) {
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("parties");
              for (int i = 0; i < parties; ++i) {
                const std::string name = StrCat("p", i);
                scope.Spawn(name, [=]() MILLRACE_MAY_SUSPEND {
                  FootprintScope footprint({is_shared ? "shared" : name});
                  for (int step = 1; step < steps; ++step) CoYield("promising.step");
                });
              }
              return scope.CoJoin();
            });
          }};
}

TEST(Exhaustive, IndependentPartiesNeedFarFewerSchedules) {
  const ExploreReport shared = ExploreAll(Promising(3, 3, true));
  EXPECT_TRUE(shared.is_complete);
  EXPECT_EQ(shared.traces, 1680u);  // 9! / (3! 3! 3!)
  const ExploreReport own = ExploreAll(Promising(3, 3, false));
  EXPECT_TRUE(own.is_complete);
  // What is left are the orders of the three ends, as the joining party promises nothing.
  EXPECT_LE(own.schedules, 20u);
}

// A random program: each party's steps change or read variables; some wait for events that others
// set. What can come out of it is a set of final states.
struct Program {
  enum class Kind : uint8_t { kWrite, kRead, kSet, kWait };
  struct Action {
    Kind kind = Kind::kWrite;
    size_t object = 0;
    uint64_t value = 0;
  };
  static constexpr size_t kObjects = 3;
  std::vector<std::vector<std::vector<Action>>> parties;  // of steps of actions
};

Program MakeProgram(uint64_t seed) {
  RandomStream random(seed, "program");
  Program program;
  program.parties.resize(2 + random.Below(2));
  const uint64_t steps_max = program.parties.size() == 2 ? 4 : 3;
  for (auto& steps : program.parties) {
    steps.resize(1 + random.Below(steps_max));
    for (auto& step : steps) {
      step.resize(random.Below(3));
      for (Program::Action& action : step) {
        // A wait that comes to nothing would be a deadlock: everybody sets event 0 at its end.
        const uint64_t kind = random.Below(8);
        action.kind = kind < 3   ? Program::Kind::kWrite
                      : kind < 6 ? Program::Kind::kRead
                      : kind < 7 ? Program::Kind::kSet
                                 : Program::Kind::kWait;
        action.object = random.Below(Program::kObjects);
        action.value = 1 + random.Below(9);
      }
    }
  }
  return program;
}

struct State {
  std::array<uint64_t, Program::kObjects> variables = {};
  std::array<Event, Program::kObjects> events = {Event("e0"), Event("e1"), Event("e2")};
  std::vector<uint64_t> seen;  // by party
};

std::string NameOf(const char* kind, size_t object) { return StrCat(kind, object); }

void CoPerform(const Program::Action& action, size_t party, State& state) MILLRACE_MAY_SUSPEND {
  switch (action.kind) {
    case Program::Kind::kWrite:
      TouchShared(NameOf("v", action.object));
      state.variables[action.object] = state.variables[action.object] * 10 + action.value;
      break;
    case Program::Kind::kRead:
      TouchShared(NameOf("v", action.object), StepAccess::kRead);
      state.seen[party] = state.seen[party] * 1000 + state.variables[action.object] + 1;
      break;
    case Program::Kind::kSet:
      TouchShared(NameOf("e", action.object));
      state.events[action.object].Set();
      break;
    case Program::Kind::kWait:
      TouchShared(NameOf("e", action.object), StepAccess::kRead);
      // Waiting for ever is no error here: whoever finds the event unset goes on after one look.
      if (!state.events[action.object].is_set()) CoYield("program.wait");
      TouchShared(NameOf("e", action.object), StepAccess::kRead);
      state.seen[party] = state.seen[party] * 1000 + (state.events[action.object].is_set() ? 7 : 8);
      break;
  }
}

Scenario RunProgram(const Program& program, std::set<std::string>* outcomes, bool promises) {
  return {"program", [&program, outcomes, promises](ScenarioRun& run) {
            State state;
            state.seen.resize(program.parties.size());
            absl::Status status = run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("parties");
              for (size_t party = 0; party < program.parties.size(); ++party) {
                scope.Spawn(StrCat("p", party), [&, party]() MILLRACE_MAY_SUSPEND {
                  std::optional<FootprintScope> footprint;
                  if (promises) footprint.emplace();
                  bool is_first = true;
                  for (const auto& step : program.parties[party]) {
                    if (!is_first) CoYield("program.step");
                    is_first = false;
                    for (const Program::Action& action : step) CoPerform(action, party, state);
                  }
                });
              }
              return scope.CoJoin();
            });
            std::string outcome;
            for (uint64_t each : state.variables) StrAppend(&outcome, each, " ");
            for (uint64_t each : state.seen) StrAppend(&outcome, "| ", each);
            outcomes->insert(outcome);
            return status;
          }};
}

TEST(Exhaustive, SeesEveryOutcomeOfRandomProgramsWithFewerSchedules) {
  uint64_t schedules = 0;
  uint64_t all_schedules = 0;
  for (uint64_t seed : Seeds(10)) {
    const Program program = MakeProgram(seed);
    std::set<std::string> all;
    std::set<std::string> seen;
    const ExploreReport every = ExploreAll(RunProgram(program, &all, false), Isolation::kNone);
    const ExploreReport reduced = ExploreAll(RunProgram(program, &seen, true), Isolation::kNone);
    ASSERT_TRUE(every.is_complete && reduced.is_complete);
    EXPECT_EQ(seen, all) << "program of seed " << seed;
    if (seed <= 20) {  // every order by another way, too
      std::set<std::string> bounded;
      DelayBounded strategy(1000);
      const ExploreReport report =
          Explore(RunProgram(program, &bounded, false), strategy,
                  {.budget = {.schedules = 1'000'000}, .isolation = Isolation::kNone});
      EXPECT_TRUE(report.is_complete);
      EXPECT_EQ(bounded, all) << "program of seed " << seed;
      EXPECT_EQ(report.schedules, every.schedules) << "program of seed " << seed;
    }
    schedules += reduced.schedules;
    all_schedules += every.schedules;
  }
  EXPECT_LT(schedules * 2, all_schedules);
}

TEST(Exhaustive, TakesEveryValueOfChoicesWithinSteps) {
  std::set<size_t> seen;
  const Scenario scenario{"data", [&](ScenarioRun& run) {
                            const std::string_view values[] = {"a", "b", "c"};
                            size_t value = 0;
                            absl::Status status = run.Drive([&]() MILLRACE_MAY_SUSPEND {
                              TaskScope scope("two");
                              for (const char* name : {"p", "q"}) {
                                scope.Spawn(name, [&]() MILLRACE_MAY_SUSPEND {
                                  value = value * 4 + run.Choose("value", values) + 1;
                                });
                              }
                              return scope.CoJoin();
                            });
                            seen.insert(value);
                            return status;
                          }};
  const ExploreReport report = ExploreAll(scenario, Isolation::kNone);
  EXPECT_TRUE(report.is_complete);
  EXPECT_EQ(report.schedules, 18u);
  EXPECT_EQ(seen.size(), 9u);
}

}  // namespace
}  // namespace millrace::exhaustive_test
