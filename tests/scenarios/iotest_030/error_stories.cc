// Section E: a read of the lower image fails once, n1 <- [fault] <- n0; 2 MiB in clusters of 64 K.
#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/filters/fault_injection.h"
#include "tests/scenarios/iotest_030/simulated_cases.h"
#include "tests/scenarios/iotest_030/story_steps.h"

namespace millrace {
namespace {

constexpr uint64_t kBytes = 2 << 20;
constexpr uint64_t kErrorClusterBytes = 64 << 10;
// A cluster that the lower image has allocated; the job stands before it when it fails.
constexpr uint64_t kFailsAt = 9 * kErrorClusterBytes;

absl::Status CoStartOverFault(ChainStory& story, int error_number, OnError on_error)
    MILLRACE_MAY_SUSPEND {
  FaultInjectionOptions faults;
  faults.inject.push_back({.event = "none",
                           .error_number = error_number,
                           .sector = kFailsAt / 512 + 7,
                           .io_types = kFaultRead,
                           .once = true});
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<FilterDriver> filter,
                            MakeFaultInjectionDriver(std::move(faults)));
  InsertFilterOptions insert;
  insert.spec.id = "insert";
  insert.below = story.node(0);
  insert.filter_name = "fault";
  MILLRACE_ASSIGN_OR_RETURN(
      const JobNumber inserting,
      CoStartInsertFilter(story.graph(), story.jobs(), std::move(filter), insert));
  MILLRACE_RETURN_IF_ERROR(story.CoOver(inserting));
  StreamOptions stream = story.Stream("s", 1, std::nullopt);
  stream.on_error = on_error;
  stream.spec.dismisses_automatically = false;
  return story.CoStart(stream);
}

// It is concluded, with this errno's text, at this offset of all.
absl::Status CoEndsWithError(ChainStory& story, std::string_view error, uint64_t offset)
    MILLRACE_MAY_SUSPEND {
  story.CoOver("s").IgnoreError();  // asked for below
  MILLRACE_ASSIGN_OR_RETURN(const JobInfo job, story.jobs().Query("s"));
  MILLRACE_RETURN_IF_ERROR(
      Must(job.error == error && job.current == offset && job.total == kBytes,
           StrCat("error: the job should end with '", error, "' at ", offset, ", but ended with '",
                  job.error, "' at ", job.current, " of ", job.total)));
  MILLRACE_RETURN_IF_ERROR(MustBeShape(story, "n1 <- [fault] <- n0"));
  return story.jobs().Dismiss("s");
}

absl::Status CoStopsAndGoesOn(ChainStory& story, JobIoStatus status) MILLRACE_MAY_SUSPEND {
  const auto is_paused = [](const JobInfo& job) { return job.state == JobState::kPaused; };
  MILLRACE_RETURN_IF_ERROR(CoWaitUntil(story, "s", is_paused));
  MILLRACE_ASSIGN_OR_RETURN(const JobInfo stopped, story.jobs().Query("s"));
  MILLRACE_RETURN_IF_ERROR(
      Must(stopped.is_pause_requested && stopped.current == kFailsAt && stopped.io_status == status,
           StrCat("stop: the job stopped at ", stopped.current)));
  MILLRACE_RETURN_IF_ERROR(story.jobs().Resume("s"));
  MILLRACE_ASSIGN_OR_RETURN(const JobInfo resumed, story.jobs().Query("s"));
  MILLRACE_RETURN_IF_ERROR(
      Must(resumed.io_status == JobIoStatus::kOk, "stop: resuming does not clear the status"));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  MILLRACE_ASSIGN_OR_RETURN(const JobInfo over, story.jobs().Query("s"));
  MILLRACE_RETURN_IF_ERROR(Must(over.current == kBytes, "stop: not all was done"));
  MILLRACE_RETURN_IF_ERROR(MustBeShape(story, "n1"));
  return story.jobs().Dismiss("s");
}

absl::Status CoReport(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoStartOverFault(story, EIO, OnError::kReport));
  return CoEndsWithError(story, "Input/output error", kFailsAt);
}

absl::Status CoIgnore(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoStartOverFault(story, EIO, OnError::kIgnore));
  return CoEndsWithError(story, "Input/output error", kBytes);
}

absl::Status CoStop(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoStartOverFault(story, EIO, OnError::kStop));
  return CoStopsAndGoesOn(story, JobIoStatus::kFailed);
}

absl::Status CoEnospcReportsOthers(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoStartOverFault(story, EIO, OnError::kEnospc));
  return CoEndsWithError(story, "Input/output error", kFailsAt);
}

absl::Status CoEnospc(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoStartOverFault(story, ENOSPC, OnError::kEnospc));
  return CoStopsAndGoesOn(story, JobIoStatus::kNoSpace);
}

constexpr ChainStoryOptions kTwo = {
    .layers = 2, .guest_rounds = 0, .bytes = kBytes, .cluster_bytes = kErrorClusterBytes};

const SimulatedCase kErrorStories[] = {
    {"report", kTwo, &CoReport}, {"ignore", kTwo, &CoIgnore},
    {"stop", kTwo, &CoStop},     {"enospc_reports_others", kTwo, &CoEnospcReportsOthers},
    {"enospc", kTwo, &CoEnospc},
};

}  // namespace

absl::Span<const SimulatedCase> ErrorStories() { return kErrorStories; }

}  // namespace millrace
