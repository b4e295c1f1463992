// What an exploration does with buggify sites, and what it tells of all sites.
#include <cstdint>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/random.h"
#include "millrace/engine/scheduler/exploration_site.h"

namespace millrace::sites_test {
namespace {

// Three pieces, each of which may be short.
int ShortPieces() {
  int count = 0;
  for (int piece = 0; piece < 3; ++piece) {
    if (MILLRACE_BUGGIFY("sites test: a short piece")) ++count;
  }
  MILLRACE_SOMETIMES(count == 2, "sites test: two short pieces");
  MILLRACE_SOMETIMES(count > 3, "sites test: never");
  MILLRACE_ALWAYS(count <= 3, "sites test: no more than there are");
  return count;
}

Scenario Pieces(bool has_odd_branches) {
  Scenario scenario{"pieces", [](ScenarioRun& run) {
                      return run.Drive([&]() MILLRACE_MAY_SUSPEND {
                        if (ShortPieces() == 2) run.Fail("two", "two pieces were short");
                        CoYield("pieces.end");
                      });
                    }};
  if (has_odd_branches) scenario.explored = scenario.explored.With(ChoiceKind::kBuggify);
  return scenario;
}

uint64_t HitsOf(const ExploreReport& report, std::string_view name) {
  const auto sites = ExplorationSites();
  for (size_t i = 0; i < sites.size(); ++i) {
    if (sites[i]->name == name) return report.site_hits[i];
  }
  ADD_FAILURE() << name << " is not listed";
  return 0;
}

TEST(Sites, OddBranchesAreChoicesWhereTheScenarioExploresThem) {
  DelayBounded strategy(2);
  const ExploreReport report = Explore(Pieces(true), strategy);
  ASSERT_TRUE(report.finding);
  EXPECT_EQ(report.finding->failure.signature, "two");
  const std::string text = report.finding->schedule.ToText();
  EXPECT_EQ(text.substr(0, 1), "b") << text;
  const ReplayReport replay = Replay(Pieces(true), report.finding->schedule);
  EXPECT_TRUE(replay.stale.ok()) << replay.stale;
  EXPECT_TRUE(replay.has_failed());
}

TEST(Sites, ElsewhereTheyAreNoChoicesAndShiftNoSchedule) {
  DelayBounded strategy(2);
  const ExploreReport report = Explore(Pieces(false), strategy);
  EXPECT_FALSE(report.finding);
  EXPECT_TRUE(report.is_complete);
  DelayBounded again(2);
  const Scenario without{"nothing odd", [](ScenarioRun& run) {
                           return run.Drive([]() MILLRACE_MAY_SUSPEND { CoYield("pieces.end"); });
                         }};
  EXPECT_EQ(report.choices, Explore(without, again).choices);
  EXPECT_EQ(HitsOf(report, "sites test: a short piece"), 0u);
}

TEST(Sites, WhatWasMetIsCountedAndWhatWasNotIsKnown) {
  RandomWalk strategy(1, {.buggify_one_in = 2});
  Scenario scenario = Pieces(true);
  scenario.body = [](ScenarioRun& run) {
    return run.Drive([&]() MILLRACE_MAY_SUSPEND { ShortPieces(); });
  };
  const ExploreReport report =
      Explore(scenario, strategy, {.budget = {.schedules = 500}, .run_twice_one_in = 50});
  EXPECT_FALSE(report.finding);
  EXPECT_GT(HitsOf(report, "sites test: a short piece"), 100u);
  EXPECT_GT(HitsOf(report, "sites test: two short pieces"), 10u);
  EXPECT_EQ(HitsOf(report, "sites test: never"), 0u);
  EXPECT_EQ(HitsOf(report, "sites test: no more than there are"), 500u);
}

}  // namespace
}  // namespace millrace::sites_test
