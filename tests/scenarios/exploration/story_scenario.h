// Scenarios made from chain stories: jobs, a guest and the oracles that look afterwards.
#ifndef MILLRACE_TESTS_SCENARIOS_EXPLORATION_STORY_SCENARIO_H_
#define MILLRACE_TESTS_SCENARIOS_EXPLORATION_STORY_SCENARIO_H_

#include <functional>
#include <string>
#include <string_view>

#include "millrace/engine/explore/scenario.h"
#include "tests/support/chain_story.h"

namespace millrace {

// The kind of the notes that say that a scenario has come by what it is about: under many schedules
// it does not, and goes well. meetings_test.cc demands them in production's order.
inline constexpr std::string_view kMet = "met";

using StoryBody = std::function<absl::Status(ScenarioRun& run, ChainStory& story)>;

// The guest makes one round unless the options say otherwise.
Scenario StoryScenario(std::string name, ChainStoryOptions options, StoryBody body);

// Runs a scenario's body so that failed EXPECTs in it are findings.
absl::Status WithExpectations(ScenarioRun& run, const std::function<absl::Status()>& body);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_EXPLORATION_STORY_SCENARIO_H_
