// One seed, one run: every scenario of the catalogue under random schedules, each run twice, which
// must take the same steps. One campaign seed is a block of 200 runs of one scenario.
#include <vector>

#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/random.h"
#include "millrace/engine/explore/regression_test.h"
#include "tests/campaign/campaign.h"
#include "tests/scenarios/exploration/catalogue.h"

namespace millrace {
namespace {

constexpr uint64_t kRunsOfABlock = 200;

absl::Status RunBlock(uint64_t block, CampaignCounts& counts) {
  static const std::vector<Scenario> scenarios = AllScenarios();
  const Scenario& scenario = scenarios[block % scenarios.size()];
  RandomWalk strategy(block, kCatalogueRates);
  const ExploreReport report =
      Explore(scenario, strategy, {.budget = {.schedules = kRunsOfABlock}, .run_twice_one_in = 1});
  counts["seeds run twice"] += report.schedules;
  counts["steps"] += report.steps;
  if (!report.finding) return absl::OkStatus();
  return absl::InternalError(StrCat(scenario.name, ": ", report.finding->failure.signature, ": ",
                                    report.finding->failure.text, "\n  ",
                                    ReplayLine("schedules", scenario.name, *report.finding)));
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) { return millrace::RunCampaign(argc, argv, millrace::RunBlock); }
