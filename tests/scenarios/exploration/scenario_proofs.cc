// What is proven for which scenario: every behaviour of the micro scenarios, and for the others
// every schedule up to a number of delays: see bounds.h. A line for each says what was shown;
// tests/campaign/report.py reads them.
#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/coroutine/sanitizer.h"
#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/exhaustive.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/portfolio.h"
#include "millrace/engine/explore/regression_test.h"
#include "millrace/engine/explore/shrink.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "tests/scenarios/exploration/bounds.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/scenario_names.h"

namespace millrace {
namespace {

// What takes longer is too large a scenario.
constexpr uint64_t kSchedulesMax = 3'000'000;
constexpr Nanoseconds kTimeMax = 120 * kSecond;

// Proves what the strategy can prove, and says so.
void Prove(const Scenario& scenario, Strategy& strategy) {
  // O11 with it: each of the schedules comes to its end soon after its latest delay or fault.
  const ExploreReport report = Explore(
      scenario, strategy,
      {.budget = {.schedules = kSchedulesMax, .time = kTimeMax}, .fair_factor = kFairFactor});
  if (report.finding) {
    const Finding finding = Shrink(scenario, *report.finding, {.fair_factor = kFairFactor}).finding;
    ADD_FAILURE() << finding.failure.signature << "\n"
                  << finding.failure.text << "\n"
                  << ReplayLine("schedules", scenario.name, finding);
    return;
  }
  EXPECT_TRUE(report.is_complete) << report.proof;
  std::cout << "PROVEN " << scenario.name << ": " << report.proof << " ("
            << report.time / kMillisecond << " ms)" << std::endl;
}

class Bounds : public testing::TestWithParam<Scenario> {};

TEST_P(Bounds, HoldForEverySchedule) {
  DelayBounded strategy(MILLRACE_ASAN ? 1 : DailyBoundOf(ChoicePointsOf(GetParam())));
  Prove(GetParam(), strategy);
}

class Faulty : public testing::TestWithParam<Scenario> {};

// A fault costs as much as a delay: every way of each operation to fail in production's order, and
// every single delay without a fault. The nightly campaign proves two.
TEST_P(Faulty, HoldForEveryFaultAndEveryDelay) {
  DelayBounded strategy(1);
  Prove(GetParam(), strategy);
}

// What no scenario comes by, nothing is known of.
TEST(Sites, AreAllMetByTheCatalogue) {
  const auto sites = ExplorationSites();
  std::vector<uint64_t> hits(sites.size());
  const auto are_all_met = [&] { return std::count(hits.begin(), hits.end(), 0) == 0; };
  for (uint64_t seed = 1; seed <= 12 && !are_all_met(); ++seed) {
    for (const Scenario& scenario : AllScenarios()) {
      Portfolio strategy(seed, kCatalogueRates);
      const ExploreReport report = Explore(scenario, strategy, {.budget = {.schedules = 50}});
      ASSERT_EQ(report.site_hits.size(), hits.size());
      for (size_t i = 0; i < hits.size(); ++i) hits[i] += report.site_hits[i];
    }
  }
  for (size_t i = 0; i < sites.size(); ++i) {
    EXPECT_GT(hits[i], 0u) << ExplorationSiteKindName(sites[i]->kind) << " '" << sites[i]->name
                           << "' in " << sites[i]->file << ":" << sites[i]->line;
  }
  EXPECT_GT(sites.size(), 50u);
}

class Micro : public testing::TestWithParam<Scenario> {};

TEST_P(Micro, GoesWellInEveryOrder) {
  Exhaustive strategy;
  Prove(GetParam(), strategy);
}

INSTANTIATE_TEST_SUITE_P(All, Bounds, testing::ValuesIn(StoryScenarios()), ScenarioTestName);
INSTANTIATE_TEST_SUITE_P(All, Faulty, testing::ValuesIn(FaultyScenarios()), ScenarioTestName);
INSTANTIATE_TEST_SUITE_P(All, Micro, testing::ValuesIn(MicroScenarios()), ScenarioTestName);

}  // namespace
}  // namespace millrace
