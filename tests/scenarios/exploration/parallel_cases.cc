// The parallel cases of QEMU's iotest 030, told over memory overlays.
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/story_scenario.h"

namespace millrace {
namespace {

const ChainStoryOptions kSixLayers = {.layers = 6, .guest_rounds = 1};

// Refused, and the conflict names this node.
void ExpectRefusal(ScenarioRun& run, const absl::Status& status, std::string_view node) {
  Demand(run, !status.ok(), "I6 refusal", "a job was let in on what another has for itself");
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  const std::optional<Conflict> conflict = ConflictOf(status);
  EXPECT_TRUE(conflict.has_value()) << status;
  if (conflict) {
    EXPECT_EQ(conflict->object, node) << status;
  }
}

CommitOptions ActiveCommit(ChainStory& story, std::string id, size_t base) {
  CommitOptions options = story.Commit(std::move(id), story.chain().nodes.size() - 1, base);
  return options;
}

// Completes an active commit once it is ready.
absl::Status CoComplete(ChainStory& story, JobKey job) MILLRACE_MAY_SUSPEND {
  for (;;) {
    absl::StatusOr<JobInfo> info = story.jobs().Query(job);
    if (!info.ok()) return info.status();
    if (info->state == JobState::kReady) break;
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  }
  MILLRACE_RETURN_IF_ERROR(story.jobs().Complete(job));
  return story.CoOver(job);
}

Scenario StreamParallel(size_t streams) {
  return StoryScenario(
      StrCat("stream_parallel of ", streams), {.layers = 2 * streams + 1, .guest_rounds = 1},
      [streams](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        for (size_t i = streams; i > 0; --i) {
          MILLRACE_RETURN_IF_ERROR(
              story.CoStart(story.StreamToBottom(StrCat("s", i), 2 * i, 2 * i - 1)));
        }
        for (size_t i = streams; i > 0; --i) {
          MILLRACE_RETURN_IF_ERROR(story.CoOver(StrCat("s", i)));
        }
        Demand(run, LayerViews::LayersInUse(story.chain(), story.graph()).size() == streams + 1,
               "O3 chain", story.Shape());
        return absl::OkStatus();
      });
}

Scenario Overlapping1() {
  return StoryScenario(
      "overlapping_1", kSixLayers,
      [](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        StreamOptions stream = story.Stream("s", 3, 1);
        stream.job.filter_name = "stream-filter";
        stream.job.spec.finalizes_automatically = false;
        MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
        ExpectRefusal(run, story.CoStart(story.Stream("a", 4, 2)), "stream-filter");
        ExpectRefusal(run, story.CoStart(story.Stream("b", 2, 1)), "n2");
        ExpectRefusal(run, story.CoStart(story.Stream("c", 3, std::nullopt)), "n3");
        ExpectRefusal(run, story.CoStart(ActiveCommit(story, "d", 3)), "stream-filter");
        ExpectRefusal(run, story.CoStart(story.Commit("e", 2, 0)), "n2");
        MILLRACE_RETURN_IF_ERROR(story.CoFinalize("s"));
        MILLRACE_RETURN_IF_ERROR(story.CoOver("s"));
        DemandShape(run, story, "n5 <- n4 <- n3 <- n1 <- n0");
        return absl::OkStatus();
      });
}

Scenario Overlapping2() {
  return StoryScenario(
      "overlapping_2", {.layers = 7, .guest_rounds = 1},
      [](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        CommitOptions commit = story.Commit("c", 4, 2);
        commit.job.spec.finalizes_automatically = false;
        MILLRACE_RETURN_IF_ERROR(story.CoStart(commit));
        ExpectRefusal(run, story.CoStart(story.Stream("a", 2, std::nullopt)), "n2");
        ExpectRefusal(run, story.CoStart(story.Stream("b", 3, 1)), "n3");
        MILLRACE_RETURN_IF_ERROR(story.CoFinalize("c"));
        MILLRACE_RETURN_IF_ERROR(story.CoOver("c"));
        story.views().OnCommitted(4, 2);
        DemandShape(run, story, "n6 <- n5 <- n2 <- n1 <- n0");
        return absl::OkStatus();
      });
}

Scenario Overlapping3() {
  return StoryScenario("overlapping_3", {.layers = 4, .guest_rounds = 1},
                       [](ScenarioRun& run, ChainStory& story)
                           MILLRACE_MAY_SUSPEND -> absl::Status {
                             MILLRACE_RETURN_IF_ERROR(story.CoStart(ActiveCommit(story, "c", 1)));
                             ExpectRefusal(run, story.CoStart(story.Stream("s", 2, 1)), "n2");
                             MILLRACE_RETURN_IF_ERROR(CoComplete(story, "c"));
                             story.views().OnWritten(1);
                             DemandShape(run, story, "n1 <- n0");
                             return absl::OkStatus();
                           });
}

Scenario Overlapping4(bool is_read_only) {
  return StoryScenario(
      StrCat("overlapping_4 on ", is_read_only ? "read-only" : "writable", " layers"),
      {.layers = 6, .is_read_only = is_read_only, .guest_rounds = 1},
      [](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        CommitOptions commit = story.Commit("c", 2, 0);
        commit.job.filter_name = "commit-filter";
        commit.job.spec.finalizes_automatically = false;
        MILLRACE_RETURN_IF_ERROR(story.CoStart(commit));
        ExpectRefusal(run, story.CoStart(story.Stream("s", 4, 2)), "commit-filter");
        MILLRACE_RETURN_IF_ERROR(story.CoFinalize("c"));
        MILLRACE_RETURN_IF_ERROR(story.CoOver("c"));
        story.views().OnCommitted(2, 0);
        return absl::OkStatus();
      });
}

Scenario Overlapping5(bool stream_ends_first) {
  return StoryScenario(
      StrCat("overlapping_5, ", stream_ends_first ? "stream" : "commit", " ends first"), kSixLayers,
      [=](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        CommitOptions commit = story.Commit("c", 2, 0);
        commit.job.filter_name = "commit-filter";
        commit.job.spec.finalizes_automatically = false;
        MILLRACE_RETURN_IF_ERROR(story.CoStart(commit));
        StreamOptions stream = story.Stream("s", 4, std::nullopt);
        stream.base = story.Find("commit-filter");
        stream.job.spec.finalizes_automatically = stream_ends_first;
        MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
        if (stream_ends_first) MILLRACE_RETURN_IF_ERROR(story.CoOver("s"));
        MILLRACE_RETURN_IF_ERROR(story.CoFinalize("c"));
        MILLRACE_RETURN_IF_ERROR(story.CoOver("c"));
        story.views().OnCommitted(2, 0);
        if (!stream_ends_first) {
          MILLRACE_RETURN_IF_ERROR(story.CoFinalize("s"));
          MILLRACE_RETURN_IF_ERROR(story.CoOver("s"));
        }
        DemandShape(run, story, "n5 <- n4 <- n0");
        return absl::OkStatus();
      });
}

Scenario StreamCommit(bool commit_first) {
  return StoryScenario(
      StrCat("stream_commit, ", commit_first ? "commit" : "stream", " starts first"), kSixLayers,
      [=](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        const CommitOptions commit = ActiveCommit(story, "c", 3);
        const StreamOptions stream = story.Stream("s", 2, 0);
        if (commit_first) MILLRACE_RETURN_IF_ERROR(story.CoStart(commit));
        MILLRACE_RETURN_IF_ERROR(story.CoStart(stream));
        if (!commit_first) MILLRACE_RETURN_IF_ERROR(story.CoStart(commit));
        MILLRACE_RETURN_IF_ERROR(CoComplete(story, "c"));
        story.views().OnWritten(3);
        MILLRACE_RETURN_IF_ERROR(story.CoOver("s"));
        DemandShape(run, story, "n3 <- n2 <- n0");
        return absl::OkStatus();
      });
}

Scenario TwoStreamsAndACommit() {
  return StoryScenario(
      "two adjacent streams and a commit", {.layers = 9, .guest_rounds = 1},
      [](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_RETURN_IF_ERROR(story.CoStart(story.StreamToBottom("s4", 4, 3)));
        MILLRACE_RETURN_IF_ERROR(story.CoStart(story.StreamToBottom("s2", 2, 1)));
        MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Commit("c", 7, 5)));
        for (const char* id : {"s4", "s2", "c"}) MILLRACE_RETURN_IF_ERROR(story.CoOver(id));
        story.views().OnCommitted(7, 5);
        DemandShape(run, story, "n8 <- n5 <- n4 <- n2 <- n0");
        return absl::OkStatus();
      });
}

}  // namespace

std::vector<Scenario> ParallelCases() {
  return {StreamParallel(2),   StreamParallel(4),  Overlapping1(),      Overlapping2(),
          Overlapping3(),      Overlapping4(true), Overlapping4(false), Overlapping5(true),
          Overlapping5(false), StreamCommit(true), StreamCommit(false), TwoStreamsAndACommit()};
}

}  // namespace millrace
