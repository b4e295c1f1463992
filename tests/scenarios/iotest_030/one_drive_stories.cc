// Sections A and D: streams of one drive, n2 <- n1 <- n0.
#include <cstdint>
#include <optional>
#include <string_view>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/scenarios/iotest_030/chain_maps.h"
#include "tests/scenarios/iotest_030/held_drive.h"
#include "tests/scenarios/iotest_030/simulated_cases.h"
#include "tests/scenarios/iotest_030/story_steps.h"

namespace millrace {
namespace {

constexpr uint64_t kDriveBytes = ChainStoryOptions().bytes;

// To its end: what the top holds then is its own and all that was copied.
absl::Status CoStreamToEnd(ChainStory& story, size_t top, std::optional<size_t> base,
                           std::string_view shape) MILLRACE_MAY_SUSPEND {
  ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", top, base)));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  maps.OnStreamed(top, base);
  MILLRACE_RETURN_IF_ERROR(maps.Check(story));
  MILLRACE_RETURN_IF_ERROR(MustTell(story, {EndedWell("s", kDriveBytes)}));
  return MustBeShape(story, shape);
}

absl::Status CoStream(ChainStory& story) MILLRACE_MAY_SUSPEND {
  return CoStreamToEnd(story, 2, std::nullopt, "n2");
}

absl::Status CoStreamIntermediate(ChainStory& story) MILLRACE_MAY_SUSPEND {
  return CoStreamToEnd(story, 1, std::nullopt, "n2 <- n1");
}

// It has a request in flight when it is told to pause, which has to end first.
absl::Status CoPauseHeld(ChainStory& story, HeldDrive& drive) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 2, std::nullopt)));
  drive.CoWaitUntilHeld();
  MILLRACE_RETURN_IF_ERROR(story.jobs().Pause("s"));
  for (int i = 0; i < 20; ++i) MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  MILLRACE_ASSIGN_OR_RETURN(const JobInfo held, story.jobs().Query("s"));
  MILLRACE_RETURN_IF_ERROR(Must(held.is_pause_requested && held.state == JobState::kRunning,
                                "pause: a job is paused with a request in flight"));
  MILLRACE_RETURN_IF_ERROR(MustHaveToldSoFar(story, "s", {"status created", "status running"}));
  drive.Release();
  return CoWaitUntil(story, "s", [](const JobInfo& job) { return job.state == JobState::kPaused; });
}

absl::Status CoStreamPause(ChainStory& story) MILLRACE_MAY_SUSPEND {
  ChainMaps maps(story);
  HeldDrive drive(story, 1);
  MILLRACE_RETURN_IF_ERROR(drive.CoHold());
  MILLRACE_RETURN_IF_ERROR(CoPauseHeld(story, drive));
  MILLRACE_ASSIGN_OR_RETURN(const JobInfo paused, story.jobs().Query("s"));
  MILLRACE_RETURN_IF_ERROR(Must(!paused.is_busy, "pause: a paused job should not be busy"));
  for (int i = 0; i < 20; ++i) MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  MILLRACE_ASSIGN_OR_RETURN(const JobInfo later, story.jobs().Query("s"));
  MILLRACE_RETURN_IF_ERROR(
      Must(later.current == paused.current, "pause: a paused job has made progress"));
  MILLRACE_RETURN_IF_ERROR(story.jobs().Resume("s"));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  maps.OnStreamed(2, std::nullopt);
  MILLRACE_RETURN_IF_ERROR(maps.Check(story));
  MILLRACE_RETURN_IF_ERROR(
      MustTell(story, {EndedWell("hold", "0/0"),
                       EndedWell("s", kDriveBytes, {"status paused", "status running"})}));
  return MustBeShape(story, "n2");
}

absl::Status CoStreamNoOp(ChainStory& story) MILLRACE_MAY_SUSPEND {
  const ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 2, 1)));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  MILLRACE_RETURN_IF_ERROR(maps.Check(story));
  MILLRACE_RETURN_IF_ERROR(MustTell(story, {EndedWell("s", "0/0")}));
  return MustBeShape(story, "n2 <- n1 <- n0");
}

absl::Status CoStreamPartial(ChainStory& story) MILLRACE_MAY_SUSPEND {
  return CoStreamToEnd(story, 2, 0, "n2 <- n0");
}

absl::Status CoDeviceNotFound(ChainStory& story) MILLRACE_MAY_SUSPEND {
  GraphView view(story.graph());
  MILLRACE_RETURN_IF_ERROR(MustBeRefused(view.FindDeviceOrNode("nonexistent").status(),
                                         ConflictReason::kUnknownNode, "nonexistent"));
  return MustTell(story, {});
}

absl::Status CoJobIdMissing(ChainStory& story) MILLRACE_MAY_SUSPEND {
  StreamOptions stream;  // without an id, of a node that is no device
  stream.top = story.node(1);
  MILLRACE_RETURN_IF_ERROR(
      MustBeRefused(story.CoStart(stream), ConflictReason::kMissingJobId, "n1"));
  return MustTell(story, {});
}

// It must not spin where the lower image has ended.
absl::Status CoStreamShortBacking(ChainStory& story) MILLRACE_MAY_SUSPEND {
  return CoStreamToEnd(story, 1, std::nullopt, "n1");
}

constexpr ChainStoryOptions kThree = {.layers = 3};
// A guest would be held too, and the job's filter wait for its requests.
constexpr ChainStoryOptions kThreeHeld = {.layers = 3, .guest_rounds = 0};

const SimulatedCase kOneDriveStories[] = {
    {"stream", kThree, &CoStream},
    {"stream_intermediate", kThree, &CoStreamIntermediate},
    {"stream_pause", kThreeHeld, &CoStreamPause},
    {"stream_no_op", kThree, &CoStreamNoOp},
    {"stream_partial", kThree, &CoStreamPartial},
    {"device_not_found", kThree, &CoDeviceNotFound},
    {"job_id_missing", kThree, &CoJobIdMissing},
    {"stream_short_backing",
     {.layers = 2, .guest_rounds = 0, .bottom_bytes = 9 * 512},
     &CoStreamShortBacking},
};

}  // namespace

absl::Span<const SimulatedCase> OneDriveStories() { return kOneDriveStories; }

}  // namespace millrace
