// Schedules of jobs: every scenario of the catalogue under the portfolio of strategies. One
// campaign seed is a block of one scenario: as many schedules as a million steps allow, but few of
// a micro scenario, whose every order is proven with every build. So all others get about the same
// time, and the small ones the more schedules; how many of the sum had no more than 25 steps each,
// and are cheap, is counted by itself. Blocks have no schedules in
// common but by chance: what they do follows from their seed.
//
//   schedules --scenario='stream 5-4 and stream 3-2' --schedule=s12:one@io,...   repeats a finding
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/fair_end.h"
#include "millrace/engine/explore/portfolio.h"
#include "millrace/engine/explore/regression_test.h"
#include "millrace/engine/explore/shrink.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "tests/campaign/campaign.h"
#include "tests/scenarios/exploration/catalogue.h"

namespace millrace {
namespace {

constexpr uint64_t kStepsOfABlock = 1'000'000;
constexpr uint64_t kStepsOfASmallSchedule = 25;
// Every order of a micro scenario is proven with every build; here it is for the sites it meets.
constexpr uint64_t kSchedulesOfAMicroBlock = 1'000;

// How often each site of the library was met; also those that were not.
void CountSites(const ExploreReport& report, CampaignCounts& counts) {
  const auto sites = ExplorationSites();
  for (size_t i = 0; i < report.site_hits.size(); ++i) {
    counts[StrCat("site ", ExplorationSiteKindName(sites[i]->kind), " ", sites[i]->name)] +=
        report.site_hits[i];
  }
}

absl::Status RunBlock(uint64_t block, CampaignCounts& counts) {
  static const std::vector<Scenario> scenarios = AllScenarios();
  const Scenario& scenario = scenarios[block % scenarios.size()];
  // Few delays are tried out in the first block of a scenario; the next would only repeat that.
  const uint64_t round = (block - 1) / scenarios.size();
  std::unique_ptr<Strategy> strategy = std::make_unique<Portfolio>(
      block, kCatalogueRates, round == 0 ? Portfolio::Members::kAll : Portfolio::Members::kSeeded);
  // O11: in every other block a run is the portfolio's for a while, and ends as production would.
  const bool ends_fairly = round % 2 == 1;
  if (ends_fairly) strategy = std::make_unique<FairEnd>(std::move(strategy), block);
  const bool is_micro = scenario.name.starts_with("micro: ");
  const ExploreReport report =
      Explore(scenario, *strategy,
              {.budget = {.schedules = is_micro ? kSchedulesOfAMicroBlock : UINT64_MAX,
                          .steps = kStepsOfABlock},
               .counts_traces = true,
               .fair_factor = kFairFactor});
  const bool is_small = report.steps <= kStepsOfASmallSchedule * report.schedules;
  counts["schedules"] += report.schedules;
  counts["schedules of up to 25 steps"] += is_small ? report.schedules : 0;
  counts["steps"] += report.steps;
  counts["schedules with a fair end"] += ends_fairly ? report.schedules : 0;
  counts["traces"] += report.traces;
  counts["traces seen once"] += report.traces_seen_once;
  CountSites(report, counts);
  if (!report.finding) return absl::OkStatus();
  const Finding finding = Shrink(scenario, *report.finding, {.fair_factor = kFairFactor}).finding;
  return absl::InternalError(StrCat(scenario.name, ": ", finding.failure.signature, ": ",
                                    finding.failure.text, "\n  ",
                                    ReplayLine("schedules", scenario.name, finding)));
}

// The value of --name=value; empty if it is not there.
std::string_view Flag(int argc, char** argv, std::string_view name) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.substr(0, name.size()) == name) return argument.substr(name.size());
  }
  return {};
}

int Repeat(std::string_view name, std::string_view text) {
  const absl::StatusOr<Schedule> schedule = Schedule::FromText(text);
  if (!schedule.ok()) {
    std::cerr << schedule.status() << '\n';
    return 2;
  }
  std::vector<Scenario> scenarios = AllScenarios();
  for (Scenario& each : LoopedScenarios()) scenarios.push_back(std::move(each));
  for (const Scenario& scenario : scenarios) {
    if (scenario.name != name) continue;
    const ReplayReport report = Replay(scenario, *schedule, {.fair_factor = kFairFactor});
    if (!report.stale.ok()) std::cout << report.stale << '\n';
    for (const RecordedStep& step : report.recording.steps) {
      const bool is_deviation =
          step.choice && report.recording.choices[*step.choice].is_deviation();
      std::cout << (is_deviation ? "* " : "  ") << step.party.name << " @ " << step.party.detail
                << '\n';
    }
    std::cout << (report.has_failed() ? report.recording.failure.text : "goes well") << std::endl;
    return report.has_failed() ? 1 : 0;
  }
  std::cerr << "no scenario is called '" << name << "'\n";
  return 2;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  const std::string_view scenario = millrace::Flag(argc, argv, "--scenario=");
  if (!scenario.empty()) {
    return millrace::Repeat(scenario, millrace::Flag(argc, argv, "--schedule="));
  }
  return millrace::RunCampaign(argc, argv, millrace::RunBlock);
}
