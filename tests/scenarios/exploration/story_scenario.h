// Scenarios made from chain stories: jobs, a guest and the oracles that look afterwards.
#ifndef MILLRACE_TESTS_SCENARIOS_EXPLORATION_STORY_SCENARIO_H_
#define MILLRACE_TESTS_SCENARIOS_EXPLORATION_STORY_SCENARIO_H_

#include <functional>
#include <string>

#include "millrace/engine/explore/scenario.h"
#include "tests/support/chain_story.h"

namespace millrace {

using StoryBody = std::function<absl::Status(ScenarioRun& run, ChainStory& story)>;

// The guest makes one round unless the options say otherwise.
Scenario StoryScenario(std::string name, ChainStoryOptions options, StoryBody body);

// Runs a scenario's body so that failed EXPECTs in it are findings.
absl::Status WithExpectations(ScenarioRun& run, const std::function<absl::Status()>& body);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_EXPLORATION_STORY_SCENARIO_H_
