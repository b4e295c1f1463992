// Proofs that take too long for every build: all schedules of a scenario with up to so many delays.
// One campaign seed is one scenario, those of few choices first, and after the last one the first
// is proven again, by then of a later commit; so the proofs go on where the last night left off,
// and as many seeds as there are tasks are all of them, in however many slices.
// tests/campaign/report.py says how far the round of each commit has come.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/regression_test.h"
#include "millrace/engine/explore/shrink.h"
#include "tests/campaign/campaign.h"
#include "tests/scenarios/exploration/bounds.h"
#include "tests/scenarios/exploration/catalogue.h"

namespace millrace {
namespace {

// What needs more is too large a scenario.
constexpr uint64_t kSchedulesMax = 20'000'000;

struct Task {
  Scenario scenario;
  uint64_t choice_points = 0;
};

const std::vector<Task>& Tasks() {
  static const std::vector<Task> tasks = [] {
    std::vector<Task> all;
    std::vector<Scenario> scenarios = StoryScenarios();
    for (Scenario& each : FaultyScenarios()) scenarios.push_back(std::move(each));
    for (Scenario& scenario : scenarios) {
      const uint64_t choice_points = ChoicePointsOf(scenario);
      all.push_back({std::move(scenario), choice_points});
    }
    std::stable_sort(all.begin(), all.end(), [](const Task& a, const Task& b) {
      return a.choice_points < b.choice_points;
    });
    return all;
  }();
  return tasks;
}

absl::Status RunSeed(uint64_t seed, CampaignCounts& counts) {
  const auto& [scenario, choice_points] = Tasks()[(seed - 1) % Tasks().size()];
  const uint32_t bound = NightlyBoundOf(choice_points);
  DelayBounded strategy(bound);
  const ExploreReport report = Explore(
      scenario, strategy, {.budget = {.schedules = kSchedulesMax}, .fair_factor = kFairFactor});
  counts["last tasks of a round"] = Tasks().size();
  counts["schedules"] += report.schedules;
  counts["steps"] += report.steps;
  if (report.finding) {
    const Finding finding = Shrink(scenario, *report.finding, {.fair_factor = kFairFactor}).finding;
    return absl::InternalError(StrCat(scenario.name, ": ", finding.failure.signature, ": ",
                                      finding.failure.text, "\n  ",
                                      ReplayLine("schedules", scenario.name, finding)));
  }
  // tests/campaign/report.py reads these.
  const std::string what = report.is_complete ? "proven to bound " : "not proven to bound ";
  counts[StrCat(what, bound, ": ", scenario.name)] += report.schedules;
  return absl::OkStatus();
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) { return millrace::RunCampaign(argc, argv, millrace::RunSeed); }
