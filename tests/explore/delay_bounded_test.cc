#include "millrace/engine/explore/delay_bounded.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/explore/explorer.h"
#include "tests/explore/racing_scenarios.h"

namespace millrace::delay_bounded_test {
namespace {

ExploreReport ExploreUpTo(uint32_t bound, const Scenario& scenario) {
  DelayBounded strategy(bound);
  return Explore(scenario, strategy, {.budget = {.schedules = 1'000'000}, .counts_traces = true});
}

TEST(DelayBounded, BoundZeroIsProductionsOrderAlone) {
  const ExploreReport report = ExploreUpTo(0, Quiet(3, 3));
  EXPECT_TRUE(report.is_complete);
  EXPECT_EQ(report.schedules, 1u);
}

// With two parties there is nobody else to be late for, so each delay means another order.
TEST(DelayBounded, BoundOneIsOneScheduleMorePerChoice) {
  const ExploreReport report = ExploreUpTo(1, Quiet(2, 4));
  EXPECT_TRUE(report.is_complete);
  const Recording canonical = Replay(Quiet(2, 4), Schedule()).recording;
  const auto step_choices =
      std::count_if(canonical.choices.begin(), canonical.choices.end(),
                    [](const RecordedChoice& each) { return each.kind == ChoiceKind::kStep; });
  EXPECT_EQ(report.schedules, 1 + static_cast<uint64_t>(step_choices));
  EXPECT_EQ(report.traces, report.schedules);
  EXPECT_EQ(report.proof, "delay bound 1 complete: 8 schedules of up to 7 choices");
}

// All schedules at once, by a bound nothing can exceed: 2 parties of 2 steps have C(4, 2) orders.
TEST(DelayBounded, AHighBoundIsEveryOrder) {
  const ExploreReport report = ExploreUpTo(100, Quiet(2, 2));
  EXPECT_TRUE(report.is_complete);
  EXPECT_EQ(report.traces, 6u);
  EXPECT_EQ(report.schedules, 6u);
}

TEST(DelayBounded, NumberOfSchedulesDoesNotDependOnHowManyPartiesThereAre) {
  // k choices: 1 + k + C(k, 2) + (delays spent on one choice).
  const ExploreReport report = ExploreUpTo(2, Quiet(6, 4));
  EXPECT_TRUE(report.is_complete);
  const uint64_t k = report.choices_max;
  EXPECT_LE(report.schedules, 1 + k + k * (k - 1) / 2 + k);
  EXPECT_GT(report.schedules, k * (k - 1) / 4);
}

TEST(DelayBounded, FindsWhatNeedsTwoDelaysWithTwoAndNotWithOne) {
  // The looker must be late by two rounds of the opener's.
  const Scenario scenario = RareWindow(2);
  const ExploreReport one = ExploreUpTo(1, scenario);
  EXPECT_TRUE(one.is_complete);
  EXPECT_FALSE(one.finding);
  EXPECT_TRUE(ExploreUpTo(2, scenario).finding);
}

TEST(DelayBounded, EachValueOfADataChoiceCostsOneDelay) {
  std::set<size_t> seen;
  const Scenario scenario{"data", [&](ScenarioRun& run) {
                            const std::string_view values[] = {"a", "b", "c", "d"};
                            const size_t one = run.Choose("one", values);
                            const size_t two = run.Choose("two", values);
                            EXPECT_TRUE(one == 0 || two == 0);
                            seen.insert(one * 4 + two);
                            return absl::OkStatus();
                          }};
  DelayBounded strategy(1);
  const ExploreReport report = Explore(scenario, strategy, {.isolation = Isolation::kNone});
  EXPECT_TRUE(report.is_complete);
  EXPECT_EQ(seen.size(), 7u);
}

TEST(DelayBounded, AScenarioThatChangesUnderItIsAFinding) {
  int calls = 0;
  const Scenario scenario{"impure", [&](ScenarioRun& run) {
                            const std::string_view values[] = {"a", "b", "c"};
                            ++calls;
                            run.Choose("one",
                                       absl::MakeConstSpan(values).first(calls % 2 == 0 ? 2 : 3));
                            run.Choose("two", values);
                            return absl::OkStatus();
                          }};
  const ExploreReport report = ExploreUpTo(1, scenario);
  ASSERT_TRUE(report.finding);
  EXPECT_NE(report.finding->failure.text.find("not decided by the decider"), std::string::npos);
}

}  // namespace
}  // namespace millrace::delay_bounded_test
