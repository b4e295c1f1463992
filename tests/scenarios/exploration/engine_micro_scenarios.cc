// The engine's own primitives among three or four parties. Parties promise their footprints where
// what they share is plain, so that orders that make no difference are not tried.
#include <string>
#include <utility>

#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/footprint.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/condition.h"
#include "millrace/engine/sync/event.h"
#include "millrace/engine/sync/gate.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/engine/sync/range_lock.h"
#include "millrace/engine/sync/semaphore.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/scenarios/exploration/micro_parts.h"

namespace millrace {
namespace {

Scenario MutexOfThree() {
  return {"micro: a mutex and three parties", [](ScenarioRun& run) {
            Mutex mutex("m");
            int inside = 0;
            int entered = 0;
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("parties");
              for (int i = 0; i < 3; ++i) {
                scope.Spawn(StrCat("p", i), [&]() MILLRACE_MAY_SUSPEND {
                  FootprintScope footprint({"m"});
                  MutexLock lock(CoHold(mutex));
                  if (++inside != 1) run.Fail("mutex", "two parties hold the mutex");
                  CoYield("micro.inside");
                  --inside;
                  ++entered;
                });
              }
              absl::Status status = scope.CoJoin();
              if (entered != 3) run.Fail("mutex", "a party never got the mutex");
              return status;
            });
          }};
}

Scenario TwoPairsOfMutexes() {
  return {"micro: two mutexes and two parties each", [](ScenarioRun& run) {
            Mutex mutexes[] = {Mutex("left"), Mutex("right")};
            int totals[] = {0, 0};
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("parties");
              for (int i = 0; i < 4; ++i) {
                const char* side = i % 2 == 0 ? "left" : "right";
                scope.Spawn(StrCat(side, i), [&, i, side]() MILLRACE_MAY_SUSPEND {
                  FootprintScope footprint({side});
                  MutexLock lock(CoHold(mutexes[i % 2]));
                  const int before = totals[i % 2];
                  CoYield("micro.inside");
                  totals[i % 2] = before + 1;
                });
              }
              absl::Status status = scope.CoJoin();
              if (totals[0] != 2 || totals[1] != 2) run.Fail("lost", "an update is lost");
              return status;
            });
          }};
}

Scenario EventSetAndReset() {
  return {"micro: an event set, reset and set again", [](ScenarioRun& run) {
            Event event("e");
            int passed = 0;
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("parties");
              for (int i = 0; i < 2; ++i) {
                scope.Spawn(StrCat("waiter", i), [&]() MILLRACE_MAY_SUSPEND {
                  FootprintScope footprint({"e"});
                  event.CoWait();
                  ++passed;
                });
              }
              CoSpawnOrDo(scope, "setter", [&]() MILLRACE_MAY_SUSPEND {
                FootprintScope footprint({"e"});
                event.Set();
                CoYield("micro.set");
                event.Reset();
                CoYield("micro.reset");
                event.Set();
              });
              absl::Status status = scope.CoJoin();
              if (passed != 2) run.Fail("lost wake", "a waiter did not pass");
              return status;
            });
          }};
}

Scenario SemaphoreWithCancel() {
  return {"micro: a semaphore whose waiter is cancelled", [](ScenarioRun& run) {
            Semaphore semaphore("s", 2);
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope holders("holders");
              TaskScope cancelled("cancelled");
              for (uint64_t permits : {2u, 1u}) {
                holders.Spawn(StrCat("holder", permits), [&, permits]() MILLRACE_MAY_SUSPEND {
                  FootprintScope footprint({"s"});
                  semaphore.CoAcquire(permits);
                  CoYield("micro.holds");
                  semaphore.Release(permits);
                });
              }
              cancelled.Spawn("cancelled", [&]() MILLRACE_MAY_SUSPEND {
                if (semaphore.CoAcquireCancellable(2).ok()) semaphore.Release(2);
              });
              CoYield("micro.cancel");
              cancelled.Cancel();
              absl::Status status = holders.CoJoin();
              status.Update(cancelled.CoJoin());
              if (semaphore.available() != 2) run.Fail("permits", "permits are lost");
              return status;
            });
          }};
}

Scenario ConditionNotified() {
  return {"micro: a condition between two producers and a consumer", [](ScenarioRun& run) {
            Condition condition("c");
            int items = 0;
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("parties");
              scope.Spawn("consumer", [&]() MILLRACE_MAY_SUSPEND {
                FootprintScope footprint({"c"});
                for (int taken = 0; taken < 3; ++taken) {
                  condition.CoWaitUntil([&] { return items > 0; });
                  --items;
                }
              });
              for (int i = 1; i <= 2; ++i) {
                CoSpawnOrDo(scope, StrCat("producer", i), [&, i]() MILLRACE_MAY_SUSPEND {
                  FootprintScope footprint({"c"});
                  for (int item = 0; item < i; ++item) {
                    ++items;
                    condition.Notify();
                    CoYield("micro.produced");
                  }
                });
              }
              absl::Status status = scope.CoJoin();
              if (items != 0) run.Fail("items", "items are left");
              return status;
            });
          }};
}

Scenario GateClosedTwice() {
  return {"micro: a gate closed by two parties", [](ScenarioRun& run) {
            Gate gate("g");
            int closers = 0;
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("parties");
              for (int i = 0; i < 2; ++i) {
                scope.Spawn(StrCat("closer", i), [&]() MILLRACE_MAY_SUSPEND {
                  FootprintScope footprint({"g"});
                  gate.Close();
                  ++closers;
                  CoYield("micro.closed");
                  --closers;
                  gate.Open();
                });
                scope.Spawn(StrCat("passer", i), [&]() MILLRACE_MAY_SUSPEND {
                  FootprintScope footprint({"g"});
                  gate.CoPass();
                  if (closers != 0) run.Fail("gate", "passed a closed gate");
                });
              }
              return scope.CoJoin();
            });
          }};
}

Scenario RangesThatOverlap() {
  return {
      "micro: a range lock, shared and exclusive", [](ScenarioRun& run) {
        RangeLock lock("r");
        int writers = 0;
        int readers = 0;
        return run.Drive([&]() MILLRACE_MAY_SUSPEND {
          TaskScope scope("parties");
          for (int i = 0; i < 3; ++i) {
            scope.Spawn(StrCat("p", i), [&, i]() MILLRACE_MAY_SUSPEND {
              FootprintScope footprint({"r"});
              const bool is_writer = i == 1;
              RangeLock::Hold hold;
              lock.CoAcquire({0, 8}, is_writer ? LockMode::kExclusive : LockMode::kShared, hold);
              int& mine = is_writer ? writers : readers;
              ++mine;
              if (writers > 0 && writers + readers > 1) run.Fail("range lock", "shared");
              CoYield("micro.holds");
              --mine;
            });
          }
          return scope.CoJoin();
        });
      }};
}

Scenario SleepersCancelled() {
  return {"micro: sleepers, one of them cancelled", [](ScenarioRun& run) {
            int slept = 0;
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope patient("patient");
              TaskScope hasty("hasty");
              patient.Spawn("patient", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
                absl::Status status = CoSleepFor(2 * kMillisecond);
                ++slept;
                return status;
              });
              hasty.Spawn("hasty", [&]() MILLRACE_MAY_SUSPEND {
                CoSleepFor(kMillisecond).IgnoreError();
                ++slept;
              });
              CoYield("micro.cancel");
              hasty.Cancel();
              absl::Status status = patient.CoJoin();
              status.Update(hasty.CoJoin());
              if (slept != 2) run.Fail("sleep", "a sleeper never woke");
              return status;
            });
          }};
}

Scenario FirstErrorCancelsTheRest() {
  return {"micro: the first error cancels the siblings", [](ScenarioRun& run) {
            Event never("never");
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("parties");
              for (int i = 0; i < 2; ++i) {
                scope.Spawn(StrCat("waiter", i), [&]() MILLRACE_MAY_SUSPEND {
                  CoYield("micro.before");
                  return never.CoWaitCancellable();
                });
              }
              scope.Spawn("failing", []() MILLRACE_MAY_SUSPEND -> absl::Status {
                CoYield("micro.fails");
                return absl::DataLossError("planned");
              });
              if (!absl::IsDataLoss(scope.CoJoin())) run.Fail("scope", "another error came first");
              return absl::OkStatus();
            });
          }};
}

Scenario LateSpawn() {
  return {"micro: a coroutine started by a sibling while the scope is joined",
          [](ScenarioRun& run) {
            int ended = 0;
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("parties");
              for (int i = 0; i < 2; ++i) {
                scope.Spawn(StrCat("parent", i), [&, i]() MILLRACE_MAY_SUSPEND {
                  CoYield("micro.parent");
                  scope.Spawn(StrCat("child", i), [&]() MILLRACE_MAY_SUSPEND {
                    CoYield("micro.child");
                    ++ended;
                  });
                  ++ended;
                });
              }
              absl::Status status = scope.CoJoin();
              if (ended != 4) run.Fail("scope", "joined before all had ended");
              return status;
            });
          }};
}

}  // namespace

std::vector<Scenario> EngineMicroScenarios() {
  return {MutexOfThree(),
          TwoPairsOfMutexes(),
          EventSetAndReset(),
          SemaphoreWithCancel(),
          ConditionNotified(),
          GateClosedTwice(),
          RangesThatOverlap(),
          SleepersCancelled(),
          FirstErrorCancelsTheRest(),
          LateSpawn()};
}

}  // namespace millrace
