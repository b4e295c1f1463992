// Exhaustive with Dependence::kTouches is as good as what the library reports of its steps. Here
// every micro scenario that is small enough is explored in all interleavings, too: fewer schedules
// must show the same outcomes. A report that is missing is an outcome lost.
#include <cstdlib>
#include <iostream>
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/coroutine/sanitizer.h"
#include "millrace/engine/explore/exhaustive.h"
#include "millrace/engine/explore/explorer.h"
#include "tests/scenarios/exploration/catalogue.h"

namespace millrace::touches_test {
namespace {

using Dependence = Exhaustive::Dependence;

// Of all interleavings; scenarios that have more are not compared.
uint64_t SchedulesMax() { return std::getenv("MILLRACE_NIGHTLY") != nullptr ? 3'000'000 : 30'000; }

// In this process, so that the strategy can be asked for what it saw.
bool Completes(const Scenario& scenario, Exhaustive& strategy) {
  const ExploreReport report = Explore(
      scenario, strategy, {.budget = {.schedules = SchedulesMax()}, .isolation = Isolation::kNone});
  EXPECT_FALSE(report.finding.has_value()) << report.finding->failure.text;
  return report.is_complete;
}

TEST(Touches, ShowEveryOutcomeInFewerSchedules) {
  if (MILLRACE_ASAN) GTEST_SKIP() << "what steps touch is the same with sanitizers";
  uint64_t compared = 0;
  uint64_t schedules_of_all = 0;
  uint64_t schedules_by_promises = 0;
  uint64_t schedules_by_touches = 0;
  for (const Scenario& scenario : MicroScenarios()) {
    Exhaustive touches(Dependence::kTouches);
    EXPECT_TRUE(Completes(scenario, touches)) << scenario.name;
    Exhaustive promises;
    const bool has_promises = Completes(scenario, promises);
    Exhaustive all(Dependence::kEverything);
    const bool has_all = Completes(scenario, all);
    if (has_promises) {
      EXPECT_EQ(touches.outcomes(), promises.outcomes()) << scenario.name;
    }
    if (has_all) {
      EXPECT_EQ(touches.outcomes(), all.outcomes()) << scenario.name;
      ++compared;
      schedules_of_all += all.schedules();
      schedules_by_promises += promises.schedules();
      schedules_by_touches += touches.schedules();
    }
    std::cout << "REDUCED " << scenario.name << ": " << all.schedules() << (has_all ? "" : "+")
              << " orders, " << promises.schedules() << (has_promises ? "" : "+")
              << " by promises, " << touches.schedules() << " by touches, "
              << touches.outcomes().size() << " outcomes\n";
  }
  std::cout << "REDUCED in all that were compared (" << compared << "): " << schedules_of_all
            << " orders, " << schedules_by_promises << " by promises, " << schedules_by_touches
            << " by touches" << std::endl;
  EXPECT_GE(compared, 30u);
  EXPECT_LT(schedules_by_touches, schedules_by_promises);
  EXPECT_LT(schedules_by_promises, schedules_of_all);
}

}  // namespace
}  // namespace millrace::touches_test
