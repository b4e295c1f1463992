// Scenarios with known races, for tests of the explorer: small enough to count their schedules by
// hand.
#ifndef MILLRACE_TESTS_EXPLORE_RACING_SCENARIOS_H_
#define MILLRACE_TESTS_EXPLORE_RACING_SCENARIOS_H_

#include <string>

#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/scenario.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/mutex.h"

namespace millrace {

// Two parties each read a counter, yield, and write it back plus one; in production's order too an
// update is lost unless they take turns.
inline Scenario LostUpdate() {
  return {"lost update", [](ScenarioRun& run) {
            int counter = 0;
            const absl::Status status = run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("adders");
              for (const char* name : {"a", "b"}) {
                scope.Spawn(name, [&]() MILLRACE_MAY_SUSPEND {
                  const int read = counter;
                  CoYield("adder.write");
                  counter = read + 1;
                });
              }
              return scope.CoJoin();
            });
            if (counter != 2) run.Fail("lost update", StrCat("the counter is ", counter));
            return status;
          }};
}

// One party sets a flag for one step of many; another goes wrong if it runs just then. Production's
// order never does.
inline Scenario RareWindow(int steps_before) {
  return {"rare window", [steps_before](ScenarioRun& run) {
            bool is_open = false;
            bool was_seen = false;
            const absl::Status status = run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("parties");
              scope.Spawn("looker", [&]() MILLRACE_MAY_SUSPEND {
                CoYield("looker.look");
                was_seen = is_open;
              });
              scope.Spawn("opener", [&]() MILLRACE_MAY_SUSPEND {
                for (int i = 0; i < steps_before; ++i) CoYield("opener.wait");
                is_open = true;
                CoYield("opener.close");
                is_open = false;
              });
              return scope.CoJoin();
            });
            if (was_seen) run.Fail("window seen", "the looker ran while the window was open");
            return status;
          }};
}

// `parties` coroutines of `steps` steps each that do nothing to each other.
inline Scenario Quiet(int parties, int steps) {
  return {"quiet", [=](ScenarioRun& run) {
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("parties");
              for (int i = 0; i < parties; ++i) {
                scope.Spawn(StrCat("p", i), [steps]() MILLRACE_MAY_SUSPEND {
                  for (int step = 1; step < steps; ++step) CoYield("quiet.step");
                });
              }
              return scope.CoJoin();
            });
          }};
}

// Two mutexes taken in both orders: a deadlock if both get their first one.
inline Scenario OppositeLocks() {
  return {"opposite locks", [](ScenarioRun& run) {
            Mutex first("first");
            Mutex second("second");
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("lockers");
              auto lock_both = [](Mutex& outer, Mutex& inner) MILLRACE_MAY_SUSPEND {
                MutexLock one(CoHold(outer));
                CoYield("locker.between");
                MutexLock two(CoHold(inner));
              };
              scope.Spawn("a", [&]() MILLRACE_MAY_SUSPEND { lock_both(first, second); });
              scope.Spawn("b", [&]() MILLRACE_MAY_SUSPEND {
                CoYield("locker.late");
                CoYield("locker.later");
                lock_both(second, first);
              });
              return scope.CoJoin();
            });
          }};
}

}  // namespace millrace

#endif  // MILLRACE_TESTS_EXPLORE_RACING_SCENARIOS_H_
