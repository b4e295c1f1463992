// How many delays are proven for a scenario: with every build, and by the nightly campaign
// (tests/campaign/bounds_campaign.cc).
#ifndef MILLRACE_TESTS_SCENARIOS_EXPLORATION_BOUNDS_H_
#define MILLRACE_TESTS_SCENARIOS_EXPLORATION_BOUNDS_H_

#include <cstdint>

#include "millrace/engine/explore/scenario.h"

namespace millrace {

// Choices that production's own run makes, of the kinds that are explored.
uint64_t ChoicePointsOf(const Scenario& scenario);

// Two for scenarios of up to 150 choice points, one for the rest.
uint32_t DailyBoundOf(uint64_t choice_points);
// Three for scenarios of up to 60 choice points, two for the rest.
uint32_t NightlyBoundOf(uint64_t choice_points);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_EXPLORATION_BOUNDS_H_
