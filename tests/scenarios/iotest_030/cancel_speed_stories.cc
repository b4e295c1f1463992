// Section F: cancel and speed, n1 <- n0; and all sections together.
#include <optional>
#include <string>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/sync/sleep.h"
#include "tests/scenarios/iotest_030/chain_maps.h"
#include "tests/scenarios/iotest_030/held_drive.h"
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
  stream.job.spec.speed = speed;
  stream.job.spec.dismisses_automatically = false;  // so that its end is not missed
  return stream;
}

const std::vector<std::string>& Started() {
  static const std::vector<std::string> lines = {"status created", "status running"};
  return lines;
}

// The cancel comes while the job's first read stands still; it has nothing to say before that one
// has ended.
absl::Status CoCancelHeld(ChainStory& story, HeldDrive& drive) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(story.CoStart(SlowStream(story, 0)));
  drive.CoWaitUntilHeld();
  MILLRACE_RETURN_IF_ERROR(MustHaveToldSoFar(story, "s", Started()));
  MILLRACE_RETURN_IF_ERROR(story.jobs().Cancel("s", false));
  for (int i = 0; i < 20; ++i) MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  MILLRACE_RETURN_IF_ERROR(MustHaveToldSoFar(story, "s", Started()));
  drive.Release();
  return Must(absl::IsCancelled(story.CoOver("s")), "cancel: it ended otherwise");
}

absl::Status CoStreamStop(ChainStory& story) MILLRACE_MAY_SUSPEND {
  ChainMaps maps(story);
  maps.OnStreamBegun(1, std::nullopt);
  HeldDrive drive(story, 0);
  MILLRACE_RETURN_IF_ERROR(drive.CoHold());
  MILLRACE_RETURN_IF_ERROR(CoCancelHeld(story, drive));
  MILLRACE_ASSIGN_OR_RETURN(const JobInfo job, story.jobs().Query("s"));
  MILLRACE_RETURN_IF_ERROR(Must(job.current < job.total, "cancel: all was done"));
  MILLRACE_RETURN_IF_ERROR(MustBeShape(story, "n1 <- [hold] <- n0"));
  MILLRACE_RETURN_IF_ERROR(maps.Check(story));
  MILLRACE_RETURN_IF_ERROR(story.jobs().Dismiss("s"));
  const std::string end =
      StrCat("cancelled 'Operation canceled' ", job.current, "/", ChainStoryOptions().bytes);
  return MustTell(story, {EndedWell("hold", "0/0"), Ended("s", {}, end)});
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
  MILLRACE_RETURN_IF_ERROR(MustHaveToldSoFar(story, "s", {"status created", "status null"}));
  MILLRACE_RETURN_IF_ERROR(MustBeShape(story, "n1 <- n0"));
  MILLRACE_RETURN_IF_ERROR(story.CoStart(SlowStream(story, kStandingStill)));
  MILLRACE_RETURN_IF_ERROR(
      MustBeRefused(story.jobs().SetSpeed("s", -1), ConflictReason::kNegativeSpeed, "s"));
  MILLRACE_RETURN_IF_ERROR(CoCancelStream(story));
  return story.jobs().Dismiss("s");
}

constexpr ChainStoryOptions kTwoLayers = {.layers = 2};
// A guest would be held too, and the job's filter wait for its requests.
constexpr ChainStoryOptions kTwoHeld = {.layers = 2, .guest_rounds = 0};

const SimulatedCase kCancelSpeedStories[] = {
    {"stream_stop", kTwoHeld, &CoStreamStop},
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
