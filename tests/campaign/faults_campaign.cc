// The fault loop over every scenario, in every way that an operation can fail: without effect,
// after its effect, for want of space, in the middle. One campaign seed is one scenario, one way,
// once or for ever; every build does those without effect.
#include <array>
#include <string>
#include <vector>

#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/regression_test.h"
#include "millrace/engine/explore/shrink.h"
#include "tests/campaign/campaign.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/faults.h"

namespace millrace {
namespace {

using How = FaultLoop::How;
using Lasts = FaultLoop::Lasts;

absl::Status RunSeed(uint64_t seed, CampaignCounts& counts) {
  static const std::vector<Scenario> scenarios = LoopedScenarios();
  constexpr std::array<How, 4> kHow = {How::kAfterEffect, How::kNoSpace, How::kTorn,
                                       How::kNoEffect};
  const Scenario& scenario = scenarios[seed % scenarios.size()];
  const uint64_t round = seed / scenarios.size();
  FaultLoop strategy(round % 2 == 0 ? Lasts::kOnce : Lasts::kForEver,
                     kHow[round / 2 % kHow.size()]);
  const ExploreReport report =
      Explore(scenario, strategy, {.budget = {.schedules = 20'000}, .hang_seconds = 20});
  counts["schedules"] += report.schedules;
  counts["steps"] += report.steps;
  // The last run of a loop had no chance left.
  counts["faults"] += report.schedules - (report.is_complete ? 1 : 0);
  if (!report.finding) return absl::OkStatus();
  const Finding finding = Shrink(scenario, *report.finding).finding;
  return absl::InternalError(StrCat(scenario.name, ": ", finding.failure.signature, ": ",
                                    finding.failure.text, "\n  ",
                                    ReplayLine("schedules", scenario.name, finding)));
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) { return millrace::RunCampaign(argc, argv, millrace::RunSeed); }
