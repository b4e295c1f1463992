// What the parties of a scenario shall meet at, they do meet at: in production's order, or, where
// the explorer chooses the moment, in some schedule that is proven every day. Under others a job
// may be over before, and nothing is wrong with that; never to meet would be.
#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/coroutine/sanitizer.h"
#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/schedule.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/story_scenario.h"

namespace millrace::meetings_test {
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
  for (const Meeting& meeting : {Meeting{" with a window meets ", "window", 20},
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

struct MeetingSomewhere {
  std::string_view part_of_name;
  size_t scenarios;                   // that have this in their names
  std::vector<std::string_view> any;  // sites, one of which has to be met in each
};

// In all schedules of one delay.
std::set<std::string_view> SitesMet(const Scenario& scenario) {
  DelayBounded strategy(1);
  const ExploreReport report = Explore(scenario, strategy, {.budget = {.schedules = 100'000}});
  EXPECT_FALSE(report.finding.has_value()) << scenario.name << ": " << report.finding->failure.text;
  EXPECT_TRUE(report.is_complete) << scenario.name;
  std::set<std::string_view> met;
  const auto sites = ExplorationSites();
  for (size_t i = 0; i < report.site_hits.size(); ++i) {
    if (report.site_hits[i] > 0) met.insert(sites[i]->name);
  }
  return met;
}

TEST(Meetings, TakePlaceAtSomeMomentOfTheJob) {
  if (MILLRACE_ASAN) GTEST_SKIP() << "who meets whom is the same with sanitizers";
  const std::vector<MeetingSomewhere> meetings = {
      {" against pause and resume", 4, {"others: a pause meets a job mid-copy"}},
      // An active commit comes to rest with its one piece copied.
      {"stream against pause and resume", 1, {"others: a job is paused mid-copy"}},
      {"mirror against pause and resume", 1, {"others: a job is paused mid-copy"}},
      {" against a cancel", 4, {"others: a cancel meets a job mid-copy"}},
      {" against a forced cancel", 4, {"others: a cancel meets a job mid-copy"}},
      {" against a drain of n", 12, {"others: a drain meets a job mid-copy"}},
      {" against two nested drains", 4, {"others: two drains meet a job mid-copy"}},
      {"stream against a snapshot", 1, {"others: a snapshot beside a job mid-copy"}},
      {" against a snapshot",
       4,
       {"others: a snapshot beside a job mid-copy", "others: a job mid-copy refuses a snapshot"}},
      {" against a resize",
       4,
       {"others: a resize beside a job mid-copy", "others: a job mid-copy refuses a resize"}},
      {" against a filter ",
       16,
       {"others: a filter comes beside a job mid-copy", "others: a job mid-copy refuses a filter"}},
  };
  std::vector<size_t> scenarios(meetings.size());
  for (const Scenario& scenario : JobsAgainstOthers()) {
    std::optional<std::set<std::string_view>> met;
    for (size_t i = 0; i < meetings.size(); ++i) {
      const auto& [part, count, any] = meetings[i];
      const bool is_late = scenario.name.find("pending") != std::string::npos;
      if (is_late || scenario.name.find(part) == std::string::npos) continue;
      if (!met) met = SitesMet(scenario);
      ++scenarios[i];
      EXPECT_TRUE(std::any_of(any.begin(), any.end(),
                              [&](std::string_view site) { return met->contains(site); }))
          << scenario.name << ": " << any.front();
    }
  }
  for (size_t i = 0; i < meetings.size(); ++i) {
    EXPECT_EQ(scenarios[i], meetings[i].scenarios) << meetings[i].part_of_name;
  }
}

}  // namespace
}  // namespace millrace::meetings_test
