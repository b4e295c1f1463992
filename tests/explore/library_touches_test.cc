// What the library reports of its steps (Scheduler::Touch) is all that Exhaustive knows of them
// under kTouches. Here parties meet in one of the things that report: a report that is missing is
// an outcome lost, as every step reports something else as well and so passes for one of which all
// is known.
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/exhaustive.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/footprint.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/semaphore.h"

namespace millrace::library_touches_test {
namespace {

using Dependence = Exhaustive::Dependence;
using Body = std::function<absl::Status(ScenarioRun&, std::string& outcome)>;

uint64_t OutcomesOf(const Scenario& scenario, Dependence dependence) {
  Exhaustive strategy(dependence);
  const ExploreReport report = Explore(
      scenario, strategy, {.budget = {.schedules = 100'000}, .isolation = Isolation::kNone});
  EXPECT_TRUE(report.is_complete) << scenario.name << ": " << report.proof;
  EXPECT_FALSE(report.finding) << report.finding->failure.text;
  return strategy.outcomes().size();
}

void ExpectThatTouchesShowAll(std::string name, Body body,
                              ChoiceKinds explored = ChoiceKinds::Schedule()) {
  const Scenario scenario{std::move(name),
                          [body = std::move(body)](ScenarioRun& run) {
                            std::string outcome;
                            const absl::Status status = body(run, outcome);
                            run.Outcome(outcome);
                            return status;
                          },
                          explored};
  const uint64_t all = OutcomesOf(scenario, Dependence::kEverything);
  EXPECT_GE(all, 2u) << scenario.name << ": the parties do not meet";
  EXPECT_EQ(OutcomesOf(scenario, Dependence::kTouches), all) << scenario.name;
}

TEST(LibraryTouches, OfASemaphoreWhoseWaiterIsCancelled) {
  ExpectThatTouchesShowAll("semaphore", [](ScenarioRun& run, std::string& outcome) {
    Semaphore semaphore("s", 1);
    return run.Drive([&]() MILLRACE_MAY_SUSPEND {
      TaskScope cancelled("cancelled");
      TaskScope scope("parties");
      // Waits for more than there is, with somebody behind it who could go on.
      cancelled.Spawn("first", [&]() MILLRACE_MAY_SUSPEND {
        (void)semaphore.CoAcquireCancellable(2);
        TouchShared("order");
        outcome += "first ";
      });
      CoYield("first waits");
      scope.Spawn("second", [&]() MILLRACE_MAY_SUSPEND {
        semaphore.CoAcquire(1);
        TouchShared("order");
        outcome += "second ";
      });
      CoYield("second waits");
      cancelled.Cancel();
      scope.Spawn("looker", [&]() MILLRACE_MAY_SUSPEND { (void)semaphore.TryAcquire(5); });
      absl::Status status = cancelled.CoJoin();
      status.Update(scope.CoJoin());
      return status;
    });
  });
}

}  // namespace
}  // namespace millrace::library_touches_test
