#include "tests/scenarios/exploration/catalogue.h"

#include <iterator>
#include <utility>

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

}  // namespace

std::vector<Scenario> StoryScenarios() {
  return Joined({&ParallelCases, &PairsOfJobs, &JobsAgainstOthers});
}

std::vector<Scenario> MicroScenarios() {
  return Joined({&EngineMicroScenarios, &JobMicroScenarios, &GraphMicroScenarios});
}

std::vector<Scenario> AllScenarios() { return Joined({&StoryScenarios, &MicroScenarios}); }

}  // namespace millrace
