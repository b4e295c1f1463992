// What is proven for which scenario: every behaviour of the micro scenarios, and for the others
// every schedule up to a number of delays: two for those of up to 150 choice points, one for the
// rest. A line for each says what was shown.
#include <algorithm>
#include <iostream>
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/coroutine/sanitizer.h"
#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/exhaustive.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/regression_test.h"
#include "millrace/engine/explore/shrink.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/scenario_names.h"

namespace millrace {
namespace {

constexpr uint64_t kChoicesOfASmallScenario = 150;
constexpr uint64_t kSchedulesMax = 3'000'000;
constexpr Nanoseconds kTimeMax = 120 * kSecond;  // what takes longer is too large a scenario

// Proves what the strategy can prove, and says so.
void Prove(const Scenario& scenario, Strategy& strategy) {
  const ExploreReport report =
      Explore(scenario, strategy, {.budget = {.schedules = kSchedulesMax, .time = kTimeMax}});
  if (report.finding) {
    const Finding finding = Shrink(scenario, *report.finding).finding;
    ADD_FAILURE() << finding.failure.signature << "\n"
                  << finding.failure.text << "\n"
                  << ReplayLine("schedules", scenario.name, finding);
    return;
  }
  EXPECT_TRUE(report.is_complete) << report.proof;
  std::cout << "PROVEN " << scenario.name << ": " << report.proof << " ("
            << report.time / kMillisecond << " ms)" << std::endl;
}

// Choices that production's own run makes, of the kinds that are explored.
uint64_t ChoicePointsOf(const Scenario& scenario) {
  const Recording canonical = Replay(scenario, Schedule()).recording;
  return static_cast<uint64_t>(
      std::count_if(canonical.choices.begin(), canonical.choices.end(),
                    [&](const RecordedChoice& each) { return scenario.explored.Has(each.kind); }));
}

class Bounds : public testing::TestWithParam<Scenario> {};

TEST_P(Bounds, HoldForEverySchedule) {
  const bool is_small = ChoicePointsOf(GetParam()) <= kChoicesOfASmallScenario;
  DelayBounded strategy(is_small && !MILLRACE_ASAN ? 2 : 1);
  Prove(GetParam(), strategy);
}

class Micro : public testing::TestWithParam<Scenario> {};

TEST_P(Micro, GoesWellInEveryOrder) {
  Exhaustive strategy;
  Prove(GetParam(), strategy);
}

INSTANTIATE_TEST_SUITE_P(All, Bounds, testing::ValuesIn(StoryScenarios()), ScenarioTestName);
INSTANTIATE_TEST_SUITE_P(All, Micro, testing::ValuesIn(MicroScenarios()), ScenarioTestName);

}  // namespace
}  // namespace millrace
