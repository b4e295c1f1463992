// What each random strategy is for, shown on scenarios where it does better than a random walk.
#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/footprint.h"
#include "millrace/engine/explore/guided.h"
#include "millrace/engine/explore/pct.h"
#include "millrace/engine/explore/portfolio.h"
#include "millrace/engine/explore/pos.h"
#include "millrace/engine/explore/random.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/explore/racing_scenarios.h"

namespace millrace::strategies_test {
namespace {

constexpr uint64_t kNotFound = UINT64_MAX;

// The schedule in which it was found.
uint64_t FoundAt(Strategy& strategy, const Scenario& scenario, uint64_t schedules) {
  const ExploreReport report = Explore(scenario, strategy, {.budget = {.schedules = schedules}});
  return report.finding ? report.finding->at_schedule : kNotFound;
}

TEST(Pct, FindsWhatNeedsALongDelayAndARandomWalkDoesNot) {
  // The looker must not run for 30 steps of the opener.
  const Scenario scenario = RareWindow(30);
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    Pct pct({.seed = seed});
    EXPECT_LE(FoundAt(pct, scenario, 2000), 2000u) << seed;
    RandomWalk random(seed);
    EXPECT_EQ(FoundAt(random, scenario, 2000), kNotFound) << seed;
  }
}

// Goes wrong in the order a < x < b < c, where c's party is there only once x was done. Who is to
// run last is the second to be delayed, and has to end below the first.
Scenario ChainOfFour() {
  return {"chain of four", [](ScenarioRun& run) {
            std::string order;
            const absl::Status status = run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("parties");
              scope.Spawn("one", [&]() MILLRACE_MAY_SUSPEND {
                order += 'a';
                CoYield("one.between");
                order += 'b';
              });
              scope.Spawn("three", [&]() MILLRACE_MAY_SUSPEND {
                order += 'x';
                scope.Spawn("two", [&]() MILLRACE_MAY_SUSPEND { order += 'c'; });
              });
              return scope.CoJoin();
            });
            if (order == "axbc") run.Fail("a < x < b < c", "");
            return status;
          }};
}

TEST(Pct, WhoDropsLaterMayEndBelowWhoDroppedBefore) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    Pct pct({.seed = seed});
    EXPECT_LE(FoundAt(pct, ChainOfFour(), 100'000), 100'000u) << seed;
  }
}

TEST(Pct, EqualSeedsFindEqualSchedules) {
  Pct one({.seed = 7});
  Pct other({.seed = 7});
  EXPECT_EQ(FoundAt(one, RareWindow(30), 2000), FoundAt(other, RareWindow(30), 2000));
}

// One party spins until the other has set a flag.
Scenario Spinning(int spinners = 1) {
  Scenario scenario{"spinning", [spinners](ScenarioRun& run) {
                      bool is_set = false;
                      return run.Drive([&]() MILLRACE_MAY_SUSPEND {
                        TaskScope scope("parties");
                        for (int i = 0; i < spinners; ++i) {
                          scope.Spawn("spinner", [&]() MILLRACE_MAY_SUSPEND {
                            while (!is_set) {
                              TouchShared("spinners");
                              CoYield("spin");
                            }
                          });
                        }
                        scope.Spawn("setter", [&]() MILLRACE_MAY_SUSPEND {
                          TouchShared("setter");
                          CoYield("set");
                          is_set = true;
                        });
                        return scope.CoJoin();
                      });
                    }};
  scenario.choices_max = 2000;
  return scenario;
}

TEST(Pct, StarvesAndFairPctDoesNot) {
  Pct unfair({.seed = 1});
  EXPECT_NE(FoundAt(unfair, Spinning(), 100), kNotFound);
  Pct fair({.seed = 1, .is_fair = true});
  EXPECT_EQ(FoundAt(fair, Spinning(), 100), kNotFound);
}

// One party polls with a timer for what another gets from a slow file.
TEST(Pct, APollingTimerDoesNotKeepIoFromEnding) {
  Scenario scenario{"polling", [](ScenarioRun& run) {
                      bool is_done = false;
                      return run.Drive([&]() MILLRACE_MAY_SUSPEND {
                        TaskScope scope("parties");
                        scope.Spawn("poller", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
                          while (!is_done) MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
                          return absl::OkStatus();
                        });
                        scope.Spawn("opener", [&]() MILLRACE_MAY_SUSPEND {
                          (void)run.engine().io().CoOpen("none", {});
                          is_done = true;
                        });
                        return scope.CoJoin();
                      });
                    }};
  scenario.choices_max = 500;
  Pct pct({.seed = 1});
  EXPECT_EQ(FoundAt(pct, scenario, 200), kNotFound);
}

// Two parties that touch one object in a rare order, among many that touch only their own.
Scenario CrowdedWindow() {
  return {"crowded", [](ScenarioRun& run) {
            int looks_before_open = 0;
            bool is_open = false;
            bool was_seen = false;
            const absl::Status status = run.Drive([&]() MILLRACE_MAY_SUSPEND {
              TaskScope scope("parties");
              scope.Spawn("looker", [&]() MILLRACE_MAY_SUSPEND {
                for (int i = 0; i < 6; ++i) {
                  TouchShared("window", StepAccess::kRead);
                  looks_before_open += is_open ? 0 : 1;
                  was_seen = was_seen || (is_open && looks_before_open == 0);
                  CoYield("looker.look");
                }
              });
              scope.Spawn("opener", [&]() MILLRACE_MAY_SUSPEND {
                for (int i = 0; i < 6; ++i) {
                  TouchShared("window");
                  is_open = i == 5;
                  CoYield("opener.work");
                }
              });
              for (int i = 0; i < 4; ++i) {
                scope.Spawn(StrCat("bystander", i), [i]() MILLRACE_MAY_SUSPEND {
                  for (int step = 0; step < 6; ++step) {
                    TouchShared(StrCat("own", i));
                    CoYield(i % 2 == 0 ? "bystander.even" : "bystander.odd");
                  }
                });
              }
              return scope.CoJoin();
            });
            if (was_seen) run.Fail("window seen", "");
            return status;
          }};
}

TEST(Pos, FindsTheRareOrderOfTwoSteps) {
  Pos pos(3);
  EXPECT_LE(FoundAt(pos, CrowdedWindow(), 3000), 3000u);
}

// What a fair run takes is learnt from fair runs, and not from those in which somebody starved:
// else each is allowed to starve somebody for longer than the one before. More spin than PCT has
// changes of priority to put back, and none of their steps conflicts with those of the one for whom
// they wait, so POS does not draw its priority anew: it does starve.
TEST(FairStrategies, DoNotLearnToStarve) {
  constexpr uint64_t kSchedules = 5000;
  constexpr int kSpinners = 6;
  Pct pct({.seed = 1, .is_fair = true});
  EXPECT_EQ(FoundAt(pct, Spinning(kSpinners), kSchedules), kNotFound);
  Pos pos(1, {}, Pos::Fairness::kFair);
  EXPECT_EQ(FoundAt(pos, Spinning(kSpinners), kSchedules), kNotFound);
}

TEST(FairStrategies, FindWhatNeedsALongDelay) {
  Pct pct({.seed = 1, .is_fair = true});
  EXPECT_NE(FoundAt(pct, RareWindow(30), 20'000), kNotFound);
  Pos pos(3, {}, Pos::Fairness::kFair);
  EXPECT_NE(FoundAt(pos, CrowdedWindow(), 3000), kNotFound);
}

TEST(Guided, FindsWhatItLooksForAndKeepsWhatIsNew) {
  Guided guided(1);
  const ExploreReport report = Explore(RareWindow(6), guided, {.budget = {.schedules = 20'000}});
  EXPECT_TRUE(report.finding);
  EXPECT_EQ(report.proof.find("0 pairs"), std::string::npos) << report.proof;
}

TEST(Guided, TakesNoFaultsWhereTheirRateIsZero) {
  // A stack that is refused fails the run.
  Scenario scenario = Quiet(3, 3);
  scenario.explored = ChoiceKinds::All();
  Guided none(1);
  EXPECT_EQ(FoundAt(none, scenario, 2000), kNotFound);
  Guided some(1, {.fault_one_in = 20});
  EXPECT_LE(FoundAt(some, scenario, 100), 100u);
}

TEST(Portfolio, GivesEachItsShareAndGoesOnWhenOneIsDone) {
  Portfolio mix;
  mix.Add(std::make_unique<RandomWalk>(1), 3);
  mix.Add(std::make_unique<DelayBounded>(1), 1);
  const ExploreReport report = Explore(Quiet(2, 4), mix, {.budget = {.schedules = 100}});
  EXPECT_EQ(report.schedules, 100u);
  EXPECT_EQ(report.proof,
            "random 92; delay-bounded 8 (delay bound 1 complete: 8 schedules of up to 7 choices); "
            "latest: random");
}

TEST(Portfolio, IsCompleteWhenAllItsMembersAre) {
  Portfolio mix;
  mix.Add(std::make_unique<DelayBounded>(0), 1);
  mix.Add(std::make_unique<DelayBounded>(1), 1);
  const ExploreReport report = Explore(Quiet(2, 4), mix);
  EXPECT_TRUE(report.is_complete);
  EXPECT_EQ(report.schedules, 9u);
}

TEST(Portfolio, RecommendedMixFindsLongDelaysAndRareOrders) {
  for (const Scenario& scenario : {RareWindow(30), CrowdedWindow(), LostUpdate()}) {
    Portfolio mix(1);
    EXPECT_NE(FoundAt(mix, scenario, 20'000), kNotFound) << scenario.name;
  }
}

// ---- Seeds -------------------------------------------------------------------------------------

// The traces of a strategy's runs, in their order.
class Traced final : public Strategy {
 public:
  explicit Traced(Strategy& strategy) : strategy_(strategy) {}

  std::string_view name() const override { return strategy_.name(); }
  bool BeginRun() override { return strategy_.BeginRun(); }
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    return strategy_.Pick(kind, options);
  }
  void EndRun(const RunSummary& summary) override {
    strategy_.EndRun(summary);
    traces.push_back(summary.trace_hash);
  }
  bool wants_steps() const override { return strategy_.wants_steps(); }
  void OnStep(const Option& step) override { strategy_.OnStep(step); }
  void OnTouch(uint64_t object, StepAccess access) override { strategy_.OnTouch(object, access); }
  void OnStandingTouch(uint64_t object) override { strategy_.OnStandingTouch(object); }
  void OnFootprint(bool is_complete) override { strategy_.OnFootprint(is_complete); }

  std::vector<uint64_t> traces;

 private:
  Strategy& strategy_;
};

constexpr uint64_t kTracedRuns = 1000;

// Of a scenario with so many parties that two random runs are not alike by chance, nor two orders
// of priorities.
std::vector<uint64_t> TracesOf(Strategy&& strategy) {
  Traced traced(strategy);
  Explore(Quiet(12, 3), traced,
          {.budget = {.schedules = kTracedRuns}, .isolation = Isolation::kNone});
  return traced.traces;
}

size_t InCommon(const std::vector<uint64_t>& some, const std::vector<uint64_t>& others) {
  const std::set<uint64_t> known(some.begin(), some.end());
  return static_cast<size_t>(std::count_if(others.begin(), others.end(),
                                           [&](uint64_t trace) { return known.contains(trace); }));
}

TEST(Seeds, ThatAreNeighboursHaveNoRunsInCommon) {
  EXPECT_EQ(InCommon(TracesOf(RandomWalk(1)), TracesOf(RandomWalk(2))), 0u);
  EXPECT_EQ(InCommon(TracesOf(Pos(1)), TracesOf(Pos(2))), 0u);
  EXPECT_EQ(InCommon(TracesOf(Pct({.seed = 1})), TracesOf(Pct({.seed = 2}))), 0u);
  EXPECT_LE(InCommon(TracesOf(Guided(1)), TracesOf(Guided(2))), 1u);
}

TEST(Seeds, MakeDifferentRunsInEachMemberOfAPortfolio) {
  EXPECT_EQ(InCommon(TracesOf(Pct({.seed = 1})), TracesOf(Pct({.seed = 1, .is_fair = true}))), 0u);
  EXPECT_EQ(InCommon(TracesOf(RandomWalk(1)), TracesOf(Pos(1))), 0u);
  EXPECT_EQ(InCommon(TracesOf(RandomWalk(1)), TracesOf(Guided(1))), 0u);
}

TEST(Seeds, OfPortfoliosRepeatOnlyWhatEverySeedMakes) {
  constexpr auto kSeeded = Portfolio::Members::kSeeded;
  EXPECT_LE(InCommon(TracesOf(Portfolio(1, {}, kSeeded)), TracesOf(Portfolio(2, {}, kSeeded))), 1u);
  EXPECT_GT(InCommon(TracesOf(Portfolio(1)), TracesOf(Portfolio(2))), kTracedRuns / 10);
}

TEST(RandomChoices, ABuggifySiteIsActiveInSomeRunsAndFiresThereNowAndThen) {
  const Option site[] = {{0, "job.small_piece", "as usual"}, {0, "job.small_piece", "odd"}};
  RandomChoices choices({.buggify_one_in = 4});
  int active = 0;
  int fired = 0;
  for (uint64_t run = 0; run < 400; ++run) {
    choices.BeginRun(run);
    int fired_here = 0;
    for (int visit = 0; visit < 40; ++visit) {
      fired_here += static_cast<int>(choices.Pick(ChoiceKind::kBuggify, site));
    }
    active += fired_here > 0 ? 1 : 0;
    fired += fired_here;
  }
  EXPECT_NEAR(active, 100, 30);
  EXPECT_NEAR(fired, 1000, 300);
}

}  // namespace
}  // namespace millrace::strategies_test
