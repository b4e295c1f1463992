// What the oracles of the catalogue see, also where faults are planted and errors are tolerated:
// each of them is shown a world that it has to complain about.
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/schedule.h"
#include "millrace/graph/open_node.h"
#include "tests/scenarios/exploration/faults.h"
#include "tests/scenarios/exploration/one_job.h"
#include "tests/scenarios/exploration/story_scenario.h"
#include "tests/support/job_witness.h"
#include "tests/support/oracle_names.h"

namespace millrace::oracles_test {
namespace {

// The signature of what is found in production's order, where faults may be planted; empty if
// nothing is.
std::string FoundDespiteFaults(StoryBody body) {
  const Scenario scenario =
      WithFaults(StoryScenario("a story", {.layers = 4, .guest_rounds = 1}, std::move(body)));
  return Replay(scenario, Schedule()).recording.failure.signature;
}

TEST(Oracles, ErrorsAndExpectationsAreNoFindingsWhereFaultsArePlanted) {
  EXPECT_EQ(FoundDespiteFaults([](ScenarioRun&, ChainStory&) -> absl::Status {
              EXPECT_TRUE(false) << "all goes well";
              return absl::ResourceExhaustedError("no space");
            }),
            "");
}

// Somebody who opens the image later does not find what is below it; the guest does.
TEST(Oracles, SeeWhatALayerShowsThoughTheStoryFails) {
  EXPECT_EQ(FoundDespiteFaults([](ScenarioRun&, ChainStory& story) -> absl::Status {
              story.chain().images[1]->backing = {};
              return absl::ResourceExhaustedError("no space");
            }),
            "DATA_LOSS O2");
}

TEST(Oracles, SeeAHeaderThatNoFailedJobExplains) {
  EXPECT_EQ(FoundDespiteFaults([](ScenarioRun&, ChainStory& story) -> absl::Status {
              MemoryOverlayImage& lowest = *story.chain().images[0];
              lowest.backing = {"elsewhere", "memory-overlay"};
              return absl::ResourceExhaustedError("no space");
            }),
            "DATA_LOSS O4");
}

// The guest is told what it has written; whoever opens its image later sees something else.
TEST(Oracles, SeeAGuestsLayerThatItsHeadersDoNotShow) {
  EXPECT_EQ(FoundDespiteFaults([](ScenarioRun&, ChainStory& story) -> absl::Status {
              story.chain().images[3]->backing = {"img-1", "memory-overlay"};
              return absl::ResourceExhaustedError("no space");
            }),
            "DATA_LOSS O1");
}

// Each of the two edits is as its job says; what is left is what neither of them leaves.
TEST(Oracles, SeeAChainThatNoOrderOfTheJobsLeaves) {
  EXPECT_EQ(
      FoundDespiteFaults([](ScenarioRun&, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_RETURN_IF_ERROR(story.CoStart(story.StreamToBottom("s", 3, 3)));
        MILLRACE_RETURN_IF_ERROR(story.CoOver("s"));
        story.OnEdited({ChainEdit::Kind::kStream, "n2", "n1"});
        return absl::ResourceExhaustedError("no space");
      }),
      "INTERNAL O4");
}

TEST(Oracles, SeeAnImageThatStaysWritable) {
  EXPECT_EQ(
      FoundDespiteFaults([](ScenarioRun&, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        return CoSetReadOnly(story.graph(), story.node(0), false, MakeHolder("user", "user"));
      }),
      "INTERNAL I1");
}

TEST(Oracles, SeeAJobThatEndsWellAndLeavesTheChain) {
  for (const OneJobKind kind :
       {OneJobKind::kStream, OneJobKind::kCommit, OneJobKind::kActiveCommit, OneJobKind::kMirror}) {
    EXPECT_EQ(FoundDespiteFaults([kind](ScenarioRun& run, ChainStory& story)
                                     MILLRACE_MAY_SUSPEND -> absl::Status {
                                       JudgeChain(run, story, kind, {.is_to_switch = true});
                                       return absl::OkStatus();
                                     }),
              "O3 chain after success")
        << OneJobName(kind);
  }
}

TEST(Oracles, SeeAJobThatIsCancelledAndLeavesAnotherChain) {
  EXPECT_EQ(FoundDespiteFaults(
                [](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
                  JudgeChain(run, story, absl::CancelledError(), "n3 <- n0", "n3 <- n2 <- n0");
                  return absl::OkStatus();
                }),
            "O3 chain after failure");
}

TEST(Oracles, SeeWhatAScenarioDemands) {
  EXPECT_EQ(FoundDespiteFaults([](ScenarioRun& run, ChainStory&) -> absl::Status {
              Demand(run, true, "J2 pause", "holds");
              Demand(run, false, "J3 clean", "twice");
              return absl::OkStatus();
            }),
            "J3 clean");
}

TEST(Oracles, HaveNamesOfALetterAndANumber) {
  for (const std::string_view name :
       {"I2: sector 3", "O12 files left", "DATA_LOSS O4", "INTERNAL G7", "J3 clean"}) {
    EXPECT_TRUE(SignatureNamesAnOracle(name)) << name;
  }
  for (const std::string_view name : {"", "I", "EXPECT one_job.cc: I2", "INTERNAL node 'n3'",
                                      "RESOURCE_EXHAUSTED no space", "CANCELLED Job 'job'"}) {
    EXPECT_FALSE(SignatureNamesAnOracle(name)) << name;
  }
}

// ---- Events (O9) --------------------------------------------------------------------------------

JobEvent Event(JobEventKind kind, JobState state) {
  JobEvent event;
  event.kind = kind;
  event.number = JobNumber(1);
  event.id = "job";
  event.type = "stream";
  event.state = state;
  event.total = 10;
  return event;
}

JobEvent State(JobState state) { return Event(JobEventKind::kStatusChange, state); }

// What a witness says of these events, a line each; and whether the job has failed.
std::vector<std::string> Complaints(const std::vector<JobEvent>& events, bool* has_failed) {
  std::vector<std::string> complaints;
  JobWitness witness([&](std::string text) { complaints.push_back(std::move(text)); });
  for (const JobEvent& event : events) witness.OnJobEvent(event);
  witness.OnAllOver();
  *has_failed = witness.has_failed_job();
  return complaints;
}

std::vector<JobEvent> AMirrorsLife() {
  return {State(JobState::kCreated),
          State(JobState::kRunning),
          State(JobState::kReady),
          Event(JobEventKind::kReady, JobState::kReady),
          State(JobState::kStandby),
          State(JobState::kReady),
          State(JobState::kWaiting),
          State(JobState::kPending),
          Event(JobEventKind::kCompleted, JobState::kPending),
          State(JobState::kConcluded),
          State(JobState::kNull)};
}

TEST(JobWitness, HasNothingToSayOfAJobThatEndsAsItShould) {
  bool has_failed = true;
  EXPECT_TRUE(Complaints(AMirrorsLife(), &has_failed).empty());
  EXPECT_FALSE(has_failed);
}

TEST(JobWitness, KnowsWhetherAJobHasFailed) {
  JobEvent end = Event(JobEventKind::kCompleted, JobState::kAborting);
  end.status = absl::UnavailableError("the disk");
  end.error = "Input/output error";
  bool has_failed = false;
  EXPECT_TRUE(
      Complaints({State(JobState::kCreated), State(JobState::kRunning), State(JobState::kAborting),
                  end, State(JobState::kConcluded), State(JobState::kNull)},
                 &has_failed)
          .empty());
  EXPECT_TRUE(has_failed);
}

TEST(JobWitness, MissesEveryEventThatIsLeftOut) {
  for (size_t left_out = 0; left_out < AMirrorsLife().size(); ++left_out) {
    std::vector<JobEvent> events = AMirrorsLife();
    events.erase(events.begin() + static_cast<ptrdiff_t>(left_out));
    bool has_failed = false;
    EXPECT_FALSE(Complaints(events, &has_failed).empty()) << left_out;
  }
}

TEST(JobWitness, SeesEveryWordThatIsSaidTwice) {
  for (size_t twice = 0; twice < AMirrorsLife().size(); ++twice) {
    std::vector<JobEvent> events = AMirrorsLife();
    events.insert(events.begin() + static_cast<ptrdiff_t>(twice), events[twice]);
    bool has_failed = false;
    EXPECT_FALSE(Complaints(events, &has_failed).empty()) << twice;
  }
}

TEST(JobWitness, SeesProgressThatGoesBackOrTooFar) {
  for (const std::vector<uint64_t>& progress : {std::vector<uint64_t>{5, 4}, {11, 11}}) {
    std::vector<JobEvent> events = AMirrorsLife();
    for (size_t i = 1; i < events.size(); ++i) events[i].current = progress[i > 5 ? 1 : 0];
    bool has_failed = false;
    EXPECT_FALSE(Complaints(events, &has_failed).empty());
  }
}

}  // namespace
}  // namespace millrace::oracles_test
