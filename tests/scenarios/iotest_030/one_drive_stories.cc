// Sections A and D: streams of one drive, n2 <- n1 <- n0.
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/scenarios/iotest_030/simulated_cases.h"
#include "tests/scenarios/iotest_030/story_steps.h"

namespace millrace {
namespace {

absl::Status CoStream(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 2, std::nullopt)));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  return MustBeShape(story, "n2");
}

absl::Status CoStreamIntermediate(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 1, std::nullopt)));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  return MustBeShape(story, "n2 <- n1");
}

absl::Status CoStreamPause(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 2, std::nullopt)));
  MILLRACE_RETURN_IF_ERROR(story.jobs().Pause("s"));
  const auto is_paused = [](const JobInfo& job) { return job.state == JobState::kPaused; };
  MILLRACE_RETURN_IF_ERROR(CoWaitUntil(story, "s", is_paused));
  MILLRACE_ASSIGN_OR_RETURN(const JobInfo paused, story.jobs().Query("s"));
  MILLRACE_RETURN_IF_ERROR(Must(!paused.is_busy, "pause: a paused job should not be busy"));
  for (int i = 0; i < 20; ++i) MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  MILLRACE_ASSIGN_OR_RETURN(const JobInfo later, story.jobs().Query("s"));
  MILLRACE_RETURN_IF_ERROR(
      Must(later.current == paused.current, "pause: a paused job has made progress"));
  MILLRACE_RETURN_IF_ERROR(story.jobs().Resume("s"));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  return MustBeShape(story, "n2");
}

absl::Status CoStreamNoOp(ChainStory& story) MILLRACE_MAY_SUSPEND {
  const std::vector<MemoryOverlayImage::Cluster> map = story.chain().images[2]->map;
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 2, 1)));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  MILLRACE_RETURN_IF_ERROR(
      Must(story.chain().images[2]->map == map, "no-op: something was copied"));
  return MustBeShape(story, "n2 <- n1 <- n0");
}

absl::Status CoStreamPartial(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 2, 0)));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  return MustBeShape(story, "n2 <- n0");
}

absl::Status CoDeviceNotFound(ChainStory& story) MILLRACE_MAY_SUSPEND {
  GraphView view(story.graph());
  return MustBeRefused(view.FindDeviceOrNode("nonexistent").status(), ConflictReason::kUnknownNode,
                       "nonexistent");
}

absl::Status CoJobIdMissing(ChainStory& story) MILLRACE_MAY_SUSPEND {
  StreamOptions stream;  // without an id, of a node that is no device
  stream.top = story.node(1);
  return MustBeRefused(story.CoStart(stream), ConflictReason::kMissingJobId, "n1");
}

// It must not spin where the lower image has ended.
absl::Status CoStreamShortBacking(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 1, std::nullopt)));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  return MustBeShape(story, "n1");
}

constexpr ChainStoryOptions kThree = {.layers = 3};

const SimulatedCase kOneDriveStories[] = {
    {"stream", kThree, &CoStream},
    {"stream_intermediate", kThree, &CoStreamIntermediate},
    {"stream_pause", kThree, &CoStreamPause},
    {"stream_no_op", {.layers = 3, .guest_rounds = 0}, &CoStreamNoOp},
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
