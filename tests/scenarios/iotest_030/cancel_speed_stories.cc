// Section F: cancel and speed, n1 <- n0; and all sections together.
#include "millrace/engine/base/status_macros.h"
#include "tests/scenarios/iotest_030/simulated_cases.h"
#include "tests/scenarios/iotest_030/story_steps.h"

namespace millrace {
namespace {

absl::Status CoCancelStream(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(story.jobs().Cancel("s", false));
  MILLRACE_RETURN_IF_ERROR(
      Must(absl::IsCancelled(story.CoOver("s")), "cancel: it ended otherwise"));
  return MustBeShape(story, "n1 <- n0");
}

StreamOptions SlowStream(ChainStory& story, int64_t speed) {
  StreamOptions stream = story.Stream("s", 1, std::nullopt);
  stream.spec.speed = speed;
  stream.spec.dismisses_automatically = false;  // so that its end is not missed
  return stream;
}

absl::Status CoStreamStop(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(story.CoStart(SlowStream(story, kStandingStill)));
  MILLRACE_RETURN_IF_ERROR(CoCancelStream(story));
  return story.jobs().Dismiss("s");
}

absl::Status MustBeSpeed(ChainStory& story, int64_t speed) {
  MILLRACE_ASSIGN_OR_RETURN(const JobInfo job, story.jobs().Query("s"));
  return Must(job.speed == speed, "speed: it is not what was set");
}

absl::Status CoSetSpeed(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(story.CoStart(SlowStream(story, 0)));
  MILLRACE_RETURN_IF_ERROR(MustBeSpeed(story, 0));
  MILLRACE_RETURN_IF_ERROR(story.jobs().SetSpeed("s", 8));
  MILLRACE_RETURN_IF_ERROR(MustBeSpeed(story, 8));
  MILLRACE_RETURN_IF_ERROR(CoCancelStream(story));
  MILLRACE_RETURN_IF_ERROR(story.jobs().Dismiss("s"));
  MILLRACE_RETURN_IF_ERROR(story.CoStart(SlowStream(story, 4)));
  MILLRACE_RETURN_IF_ERROR(MustBeSpeed(story, 4));
  MILLRACE_RETURN_IF_ERROR(CoCancelStream(story));
  return story.jobs().Dismiss("s");
}

absl::Status CoSetSpeedInvalid(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(
      MustBeRefused(story.CoStart(SlowStream(story, -1)), ConflictReason::kNegativeSpeed, "s"));
  MILLRACE_RETURN_IF_ERROR(Must(story.jobs().live_jobs() == 0, "speed: a job was created"));
  MILLRACE_RETURN_IF_ERROR(MustBeShape(story, "n1 <- n0"));
  MILLRACE_RETURN_IF_ERROR(story.CoStart(SlowStream(story, kStandingStill)));
  MILLRACE_RETURN_IF_ERROR(
      MustBeRefused(story.jobs().SetSpeed("s", -1), ConflictReason::kNegativeSpeed, "s"));
  MILLRACE_RETURN_IF_ERROR(CoCancelStream(story));
  return story.jobs().Dismiss("s");
}

constexpr ChainStoryOptions kTwoLayers = {.layers = 2};

const SimulatedCase kCancelSpeedStories[] = {
    {"stream_stop", kTwoLayers, &CoStreamStop},
    {"set_speed", kTwoLayers, &CoSetSpeed},
    {"set_speed_invalid", kTwoLayers, &CoSetSpeedInvalid},
};

}  // namespace

absl::Span<const SimulatedCase> CancelSpeedStories() { return kCancelSpeedStories; }

std::vector<SimulatedCase> SimulatedCases() {
  std::vector<SimulatedCase> all;
  for (const absl::Span<const SimulatedCase> section :
       {OneDriveStories(), ReadOnlyStories(), ParallelStories(), QuorumStories(), ErrorStories(),
        CancelSpeedStories()}) {
    all.insert(all.end(), section.begin(), section.end());
  }
  return all;
}

}  // namespace millrace
