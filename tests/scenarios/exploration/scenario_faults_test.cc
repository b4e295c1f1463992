// The fault loop over every scenario: in production's order, the N-th operation that could fail
// does, for every N, once or from there on for ever: I/O, allocations and the stacks of coroutines.
// Scenarios are written for the case that all goes well, so what they EXPECT may fail; but errors
// must be clean. No check fails, nobody waits for ever, nothing is left behind, the guest reads
// what it wrote, layers show what they did (O2), and what invariants a scenario looks at itself
// hold: Demand(). Where no job has failed, headers fit the graph (O4).
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/regression_test.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/faults.h"
#include "tests/scenarios/exploration/scenario_names.h"
#include "tests/support/seeds.h"

namespace millrace::scenario_faults_test {
namespace {

using Lasts = FaultLoop::Lasts;

class Faults : public testing::TestWithParam<Scenario> {
 protected:
  static void Loop(Lasts lasts) {
    const Scenario& scenario = GetParam();
    FaultLoop strategy(lasts, FaultLoop::How::kNoEffect, CaseStride());
    const ExploreReport report = Explore(
        scenario, strategy,
        {.budget = {.schedules = 20'000}, .isolation = IsolationOfTests(), .hang_seconds = 20});
    RecordProperty("chances", static_cast<int>(report.schedules));
    if (report.finding) {
      ADD_FAILURE() << report.finding->failure.signature << "\n"
                    << report.finding->failure.text << "\nschedule "
                    << report.finding->schedule.ToText();
      return;
    }
    EXPECT_TRUE(report.is_complete) << report.proof;
    // A first run without a chance would have proven nothing.
    if (scenario.name.rfind("micro: ", 0) == 0) return;
    EXPECT_GT(report.schedules, 5u / CaseStride());
  }
};

TEST_P(Faults, OnceLeadToCleanErrors) { Loop(Lasts::kOnce); }
TEST_P(Faults, ForEverLeadToCleanErrors) { Loop(Lasts::kForEver); }

INSTANTIATE_TEST_SUITE_P(All, Faults, testing::ValuesIn(LoopedScenarios()), ScenarioTestName);

}  // namespace
}  // namespace millrace::scenario_faults_test
