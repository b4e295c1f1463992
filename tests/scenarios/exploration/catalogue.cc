#include "tests/scenarios/exploration/catalogue.h"

#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "millrace/engine/coroutine/sanitizer.h"
#include "millrace/engine/io/simulated_io.h"
#include "tests/scenarios/exploration/faults.h"
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

// One in eight, by its name: the same ones everywhere.
bool IsOneInEight(const Scenario& scenario) {
  return (RandomStream(0, scenario.name).Next() & 7) == 0;
}

bool Tells(const Scenario& scenario, std::string_view what) {
  return scenario.name.find(what) != std::string::npos;
}

Scenario NamedWithFaults(Scenario scenario) {
  scenario.name += ", with faults";
  return WithFaults(std::move(scenario));
}

}  // namespace

std::vector<Scenario> StoryScenarios() {
  return Joined({&ParallelCases, &PairsOfJobs, &PairsOfRequests, &JobsAgainstOthers, &CopyWindows,
                 &UsersBesideJobs, &Qcow2Guests, &OddScenarios, &CrashScenarios});
}

std::vector<Scenario> OddScenarios() {
  std::vector<Scenario> odd;
  for (Scenario& each : Joined({&ParallelCases, &PairsOfJobs, &JobsAgainstOthers})) {
    // Where a guest is at work, and every eighth of the rest.
    if (!Tells(each, "guest I/O") && !IsOneInEight(each)) continue;
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

std::vector<Scenario> FaultyScenarios() {
  std::vector<Scenario> faulty = Qcow2Guests();
  for (Scenario& each : Joined({&ParallelCases, &PairsOfJobs, &PairsOfRequests, &JobsAgainstOthers,
                                &CopyWindows, &UsersBesideJobs})) {
    const bool is_told = Tells(each, "guest I/O") || Tells(each, "failure") ||
                         Tells(each, "error") || Tells(each, "mends");
    if (is_told || IsOneInEight(each)) faulty.push_back(std::move(each));
  }
  for (Scenario& each : faulty) each = NamedWithFaults(std::move(each));
  return faulty;
}

std::vector<Scenario> MicroScenarios() {
  return Joined(
      {&EngineMicroScenarios, &JobMicroScenarios, &GraphMicroScenarios, &ThrottleMicroScenarios});
}

std::vector<Scenario> AllScenarios() {
  return Joined({&StoryScenarios, &FaultyScenarios, &MicroScenarios});
}

Isolation IsolationOfTests() { return MILLRACE_ASAN ? Isolation::kNone : Isolation::kChildProcess; }

std::vector<Scenario> LoopedScenarios() {
  std::vector<Scenario> looped = Joined({&StoryScenarios, &MicroScenarios});
  for (Scenario& each : looped) each = NamedWithFaults(std::move(each));
  return looped;
}

}  // namespace millrace
