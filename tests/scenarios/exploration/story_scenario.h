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

// The guest makes one round unless the options say otherwise. All jobs are held to the protocol of
// their events (O9).
Scenario StoryScenario(std::string name, ChainStoryOptions options, StoryBody body);

// What must hold whatever fails; EXPECT is for what is so if all goes well. The signature names the
// invariant: "J2 pause".
void Demand(ScenarioRun& run, bool holds, std::string_view signature, std::string_view text);
// O3: the chain below the guest, with its filters.
void DemandShape(ScenarioRun& run, ChainStory& story, std::string_view shape) MILLRACE_OPENS_VIEW;

// Runs a scenario's body so that failed EXPECTs in it are findings. Where faults are planted they
// are none.
absl::Status WithExpectations(ScenarioRun& run, const std::function<absl::Status()>& body);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_EXPLORATION_STORY_SCENARIO_H_
