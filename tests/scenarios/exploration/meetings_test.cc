// What the parties of a scenario shall meet at, they do meet at in production's order. Under other
// schedules a job may be over before, and nothing is wrong with that; never to meet would be.
#include <algorithm>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/schedule.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/story_scenario.h"

namespace millrace {
namespace {

struct Meeting {
  std::string_view part_of_name;
  std::string_view object;  // of the note
  size_t scenarios;         // that have this in their names
};

bool HasMet(const Scenario& scenario, std::string_view object) {
  const ReplayReport report = Replay(scenario, Schedule());
  EXPECT_FALSE(report.has_failed()) << scenario.name << ": " << report.recording.failure.text;
  const auto& notes = report.recording.notes;
  return std::any_of(notes.begin(), notes.end(), [&](const RecordedNote& note) {
    return note.kind == kMet && note.object == object;
  });
}

TEST(Meetings, TakePlaceInProductionsOrder) {
  for (const Meeting& meeting : {Meeting{" with a window meets ", "window", 10},
                                 Meeting{" against a failure of I/O ", "failure", 16},
                                 Meeting{" against a user who mends ", "stop", 4}}) {
    size_t scenarios = 0;
    for (const Scenario& scenario : StoryScenarios()) {
      if (scenario.name.find(meeting.part_of_name) == std::string::npos) continue;
      ++scenarios;
      EXPECT_TRUE(HasMet(scenario, meeting.object)) << scenario.name;
    }
    EXPECT_GE(scenarios, meeting.scenarios) << meeting.part_of_name;
  }
}

}  // namespace
}  // namespace millrace
