// Every scenario under some schedules of every kind: quick enough for every build. Proofs are in
// scenario_proofs.cc.
#include <algorithm>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/coroutine/sanitizer.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/fair_end.h"
#include "millrace/engine/explore/portfolio.h"
#include "millrace/engine/explore/regression_test.h"
#include "millrace/engine/explore/shrink.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/scenario_names.h"
#include "tests/support/seeds.h"

namespace millrace::exploration_test {
namespace {

class Exploration : public testing::TestWithParam<Scenario> {};

void ExpectToGoWell(const Scenario& scenario, Strategy& strategy, uint64_t schedules_max) {
  ExploreOptions options;
  options.budget.schedules = std::min<uint64_t>(SeedCount(), schedules_max);
  options.isolation = IsolationOfTests();
  options.run_twice_one_in = 4;
  options.fair_factor = kFairFactor;
  const ExploreReport report = Explore(scenario, strategy, options);
  if (!report.finding) return;
  const Finding& finding = Shrink(scenario, *report.finding, {.fair_factor = kFairFactor}).finding;
  ADD_FAILURE() << finding.failure.signature << "\n"
                << finding.failure.text << "\n"
                << finding.schedule.size() << " deviations; "
                << ReplayLine("schedules", scenario.name, finding);
}

TEST_P(Exploration, GoesWellUnderThePortfolio) {
  Portfolio strategy(1, kCatalogueRates);
  ExpectToGoWell(GetParam(), strategy, MILLRACE_ASAN ? 10 : 120);
}

// O11: whatever the portfolio has set up, faults among it, a fair scheduler brings to its end.
TEST_P(Exploration, ComesToItsEndWhenFaultsHaveStopped) {
  FairEnd strategy(std::make_unique<Portfolio>(1, kCatalogueRates, Portfolio::Members::kSeeded), 1);
  ExpectToGoWell(GetParam(), strategy, MILLRACE_ASAN ? 6 : 60);
}

INSTANTIATE_TEST_SUITE_P(All, Exploration, testing::ValuesIn(AllScenarios()), ScenarioTestName);

}  // namespace
}  // namespace millrace::exploration_test
