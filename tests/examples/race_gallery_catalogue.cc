// Which of the gallery's mutants do the scenarios of tests/scenarios/exploration find, which were
// written without any of them in mind? A mutant that only its own scene finds is a place where the
// catalogue does not look.
//
//   race_gallery_catalogue [--schedules=N] [ID...]    N of every scenario, 100 if it is not said
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "examples/race_gallery/active_mutant.h"
#include "examples/race_gallery/entries.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/portfolio.h"
#include "millrace/engine/explore/random.h"
#include "tests/scenarios/exploration/catalogue.h"

namespace millrace::gallery {
namespace {

struct Found {
  std::string scenario;
  uint64_t schedules = 0;
  std::string failure;
};

Scenario WithMutant(const Scenario& scenario, Mutant mutant) {
  Scenario mutated = scenario;
  mutated.body = [body = scenario.body, mutant](ScenarioRun& run) {
    const ActiveMutant bug(mutant);
    return body(run);
  };
  return mutated;
}

// Delays first, which are short and show most; then random orders.
bool Look(const Scenario& scenario, Mutant mutant, uint64_t schedules, Found* found) {
  Portfolio strategy;
  strategy.Add(std::make_unique<DelayBounded>(1), 50);
  strategy.Add(std::make_unique<RandomWalk>(1), 50);
  ExploreOptions options;
  options.budget.schedules = schedules;
  options.hang_seconds = 10;
  const ExploreReport report = Explore(WithMutant(scenario, mutant), strategy, options);
  if (!report.finding) return false;
  const std::string& text = report.finding->failure.text;
  *found = {scenario.name, report.schedules, text.substr(0, text.find('\n'))};
  return true;
}

bool IsWanted(const Entry& entry, const std::vector<std::string_view>& ids) {
  for (std::string_view id : ids) {
    if (id == entry.id || id == entry.race()) return true;
  }
  return ids.empty();
}

}  // namespace

int Main(const std::vector<std::string_view>& arguments) {
  std::vector<std::string_view> ids;
  uint64_t schedules = 100;
  for (std::string_view argument : arguments) {
    if (argument.starts_with("--schedules=")) {
      schedules = std::strtoull(argument.data() + argument.find('=') + 1, nullptr, 10);
    } else {
      ids.push_back(argument);
    }
  }
  const std::vector<Scenario> scenarios = AllScenarios();
  size_t looked_for = 0;
  std::vector<std::string_view> missed;
  for (const Entry& entry : Entries()) {
    if (!IsWanted(entry, ids)) continue;
    ++looked_for;
    Found found;
    bool is_found = false;
    for (const Scenario& scenario : scenarios) {
      is_found = Look(scenario, entry.mutant, schedules, &found);
      if (is_found) break;
    }
    if (!is_found) missed.push_back(entry.id);
    std::printf("%-5s %s\n", entry.id.data(),
                is_found ? StrCat("found by '", found.scenario, "', ", found.schedules,
                                  " schedules: ", found.failure)
                               .c_str()
                         : "not found");
    std::fflush(stdout);
  }
  std::printf("%zu of %zu found by %zu scenarios; not found:", looked_for - missed.size(),
              looked_for, scenarios.size());
  for (std::string_view id : missed) std::printf(" %s", id.data());
  std::printf("\n");
  return 0;
}

}  // namespace millrace::gallery

int main(int argc, char** argv) {
  return millrace::gallery::Main(std::vector<std::string_view>(argv + 1, argv + argc));
}
