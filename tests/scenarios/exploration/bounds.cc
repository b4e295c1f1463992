#include "tests/scenarios/exploration/bounds.h"

#include <algorithm>

#include "millrace/engine/explore/explorer.h"

namespace millrace {

uint64_t ChoicePointsOf(const Scenario& scenario) {
  const Recording canonical = Replay(scenario, Schedule()).recording;
  return static_cast<uint64_t>(
      std::count_if(canonical.choices.begin(), canonical.choices.end(),
                    [&](const RecordedChoice& each) { return scenario.explored.Has(each.kind); }));
}

uint32_t DailyBoundOf(uint64_t choice_points) { return choice_points <= 150 ? 2 : 1; }

uint32_t NightlyBoundOf(uint64_t choice_points) { return choice_points <= 60 ? 3 : 2; }

}  // namespace millrace
