#include "tests/scenarios/exploration/catalogue.h"

#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "millrace/engine/io/simulated_io.h"
#include "tests/scenarios/exploration/micro_parts.h"

namespace millrace {
namespace {

std::vector<Scenario> Joined(std::initializer_list<std::vector<Scenario> (*)()> parts) {
  std::vector<Scenario> all;
  for (auto* part : parts) {
    std::vector<Scenario> more = part();
    all.insert(all.end(), std::make_move_iterator(more.begin()),
               std::make_move_iterator(more.end()));
  }
  return all;
}

// Of a name, the same everywhere.
uint64_t HashOf(std::string_view name) { return RandomStream(0, name).Next(); }

}  // namespace

std::vector<Scenario> StoryScenarios() {
  return Joined({&ParallelCases, &PairsOfJobs, &JobsAgainstOthers, &CopyWindows, &UsersBesideJobs,
                 &Qcow2Guests, &OddScenarios, &CrashScenarios});
}

std::vector<Scenario> OddScenarios() {
  std::vector<Scenario> odd;
  for (Scenario& each : Joined({&ParallelCases, &PairsOfJobs, &JobsAgainstOthers})) {
    // Where a guest is at work, and every eighth of the rest.
    const bool has_guest = each.name.find("guest I/O") != std::string::npos;
    if (!has_guest && (HashOf(each.name) & 7) != 0) continue;
    each.name += ", with odd branches";
    each.explored = each.explored.With(ChoiceKind::kBuggify).With(ChoiceKind::kLatency);
    each.choices_max = 200'000;  // who polls while a file stalls makes many
    each.body = [body = std::move(each.body)](ScenarioRun& run) {
      run.SetEngineSetup([](Engine& engine) { engine.simulated_io()->SetLatencyChoices(true); });
      return body(run);
    };
    odd.push_back(std::move(each));
  }
  return odd;
}

std::vector<Scenario> MicroScenarios() {
  return Joined(
      {&EngineMicroScenarios, &JobMicroScenarios, &GraphMicroScenarios, &ThrottleMicroScenarios});
}

std::vector<Scenario> AllScenarios() { return Joined({&StoryScenarios, &MicroScenarios}); }

}  // namespace millrace
