// Every scenario under some schedules of every kind: quick enough for every build. Proofs are in
// scenario_proofs.cc.
#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/portfolio.h"
#include "millrace/engine/explore/regression_test.h"
#include "millrace/engine/explore/shrink.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/scenario_names.h"
#include "tests/support/seeds.h"

namespace millrace::exploration_test {
namespace {

class Exploration : public testing::TestWithParam<Scenario> {};

TEST_P(Exploration, GoesWellUnderThePortfolio) {
  Portfolio strategy(1, kCatalogueRates);
  const ExploreReport report =
      Explore(GetParam(), strategy,
              {.budget = {.schedules = std::min<uint64_t>(SeedCount(), 300)},
               .isolation = IsolationOfTests(),
               .run_twice_one_in = 4});
  if (!report.finding) return;
  const Finding& finding = Shrink(GetParam(), *report.finding).finding;
  ADD_FAILURE() << finding.failure.signature << "\n"
                << finding.failure.text << "\n"
                << finding.schedule.size() << " deviations; "
                << ReplayLine("schedules", GetParam().name, finding);
}

INSTANTIATE_TEST_SUITE_P(All, Exploration, testing::ValuesIn(AllScenarios()), ScenarioTestName);

}  // namespace
}  // namespace millrace::exploration_test
