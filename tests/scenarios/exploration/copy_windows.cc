// A job with several pieces in flight, and what meets it just then. The other stories let the
// explorer find such a moment; here it is waited for.
#include <functional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/drain.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/one_job.h"
#include "tests/scenarios/exploration/story_scenario.h"

namespace millrace {
namespace {

constexpr size_t kLayersOfWindows = 4;
constexpr size_t kWindow = 4;

absl::Status CoStartCopy(ChainStory& story, bool is_stream) MILLRACE_MAY_SUSPEND {
  if (is_stream) {
    StreamOptions options = story.Stream("job", 3, 0);
    options.copy.batches_max = kWindow;
    options.spec.dismisses_automatically = false;
    return story.CoStart(std::move(options));
  }
  CommitOptions options = story.Commit("job", 2, 0);
  options.copy.batches_max = kWindow;
  options.spec.dismisses_automatically = false;
  return story.CoStart(std::move(options));
}

// Whether at least two pieces are in flight; false if the job is over without.
bool CoWaitForWindow(ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND {
  for (;;) {
    if (run.engine().simulated_io()->in_flight() >= 2) return true;
    const absl::StatusOr<JobInfo> info = story.jobs().Query("job");
    if (info.ok() && info->state != JobState::kRunning) return false;
    CoSleepFor(kMillisecond).IgnoreError();
  }
}

using Meeting = std::function<absl::Status(ScenarioRun&, ChainStory&)>;

// `may_end_it`: the meeting may keep the job from succeeding.
Scenario InWindow(bool is_stream, std::string_view name, bool may_end_it, Meeting meeting) {
  return StoryScenario(StrCat(is_stream ? "stream" : "commit", " with a window meets ", name),
                       {.layers = kLayersOfWindows, .guest_rounds = 0},
                       [=](ScenarioRun& run, ChainStory& story)
                           MILLRACE_MAY_SUSPEND -> absl::Status {
                             run.engine().simulated_io()->SetLatency(4 * kMillisecond);
                             MILLRACE_RETURN_IF_ERROR(CoStartCopy(story, is_stream));
                             TaskScope scope("others");
                             scope.Spawn("other", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
                               if (!CoWaitForWindow(run, story)) return absl::OkStatus();
                               run.Note(kMet, "window", "");
                               return meeting(run, story);
                             });
                             const absl::Status over = story.CoOver("job");
                             const absl::Status result = scope.CoJoin();
                             run.engine().simulated_io()->ClearFailures();
                             MILLRACE_RETURN_IF_ERROR(story.jobs().Dismiss("job"));
                             EXPECT_TRUE(over.ok() || may_end_it) << over;
                             // n1, n2 and n3 have become n3, or n2, n1 and n0 have become n0.
                             JudgeChain(run, story, over, "n3 <- n0", "n3 <- n2 <- n1 <- n0");
                             return result;
                           });
}

// J2: nothing of a paused job is in flight, and nothing starts.
absl::Status CoPause(ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND {
  if (!story.jobs().Pause("job").ok()) return absl::OkStatus();  // it has just ended
  for (;;) {
    MILLRACE_ASSIGN_OR_RETURN(const JobInfo info, story.jobs().Query("job"));
    if (info.state == JobState::kConcluded) return absl::OkStatus();
    if (info.state == JobState::kPaused) break;
    CoSleepFor(kMillisecond).IgnoreError();
  }
  for (int i = 0; i < 3; ++i) {
    Demand(run, run.engine().simulated_io()->in_flight() == 0, "J2 pause",
           "something of a paused job is in flight");
    CoSleepFor(kMillisecond).IgnoreError();
  }
  return story.jobs().Resume("job");
}

// G7: the same inside a drained section of the lowest layer, which reaches up to the job.
absl::Status CoDrainTop(ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(
      DrainedSection drained,
      DrainedSection::CoBegin(story.graph(), {story.node(0)}, {story.chain().monitor_holder}));
  for (int i = 0; i < 3; ++i) {
    Demand(run, run.engine().simulated_io()->in_flight() == 0, "G7 drain",
           "something is in flight inside a drained section");
    CoSleepFor(kMillisecond).IgnoreError();
  }
  return absl::OkStatus();
}

absl::Status CoCancelCopy(ScenarioRun&, ChainStory& story) MILLRACE_MAY_SUSPEND {
  story.jobs().Cancel("job", true).IgnoreError();  // it may have just ended
  return absl::OkStatus();
}

// Two pieces of those in flight or to come fail.
absl::Status CoFail(ScenarioRun& run, ChainStory&) MILLRACE_MAY_SUSPEND {
  run.engine().simulated_io()->Fail({.operation = SimulatedOperation::kMemory, .nth = 1});
  run.engine().simulated_io()->Fail({.operation = SimulatedOperation::kMemory, .nth = 3});
  return absl::OkStatus();
}

// While a drain waits for what is in flight, the job is cancelled.
absl::Status CoDrainAndCancel(ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND {
  TaskScope scope("drain and cancel");
  scope.Spawn("drain", [&]() MILLRACE_MAY_SUSPEND { return CoDrainTop(run, story); });
  scope.Spawn("cancel", [&]() MILLRACE_MAY_SUSPEND { return CoCancelCopy(run, story); });
  return scope.CoJoin();
}

}  // namespace

std::vector<Scenario> CopyWindows() {
  std::vector<Scenario> scenarios;
  for (const bool is_stream : {true, false}) {
    scenarios.push_back(InWindow(is_stream, "a pause", false, &CoPause));
    scenarios.push_back(InWindow(is_stream, "a drain", false, &CoDrainTop));
    scenarios.push_back(InWindow(is_stream, "a cancel", true, &CoCancelCopy));
    scenarios.push_back(InWindow(is_stream, "two errors", true, &CoFail));
    scenarios.push_back(InWindow(is_stream, "a drain and a cancel", true, &CoDrainAndCancel));
  }
  return scenarios;
}

}  // namespace millrace
