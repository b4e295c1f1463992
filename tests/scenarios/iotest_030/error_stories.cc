// Section E: a read of the lower image fails once, n1 <- [fault] <- n0; 2 MiB in clusters of 64 K.
#include <cerrno>
#include <memory>
#include <string>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/filters/fault_injection.h"
#include "tests/scenarios/iotest_030/chain_maps.h"
#include "tests/scenarios/iotest_030/simulated_cases.h"
#include "tests/scenarios/iotest_030/story_steps.h"

namespace millrace {
namespace {

constexpr uint64_t kErrorBytes = 2 << 20;
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
  stream.job.on_error = on_error;
  stream.job.spec.dismisses_automatically = false;
  return story.CoStart(stream);
}

// What was said when the read failed, and did not fail the job at once.
std::string ErrorLine(std::string_view action, std::string_view error = "Input/output error") {
  return StrCat("error in read, ", action, " '", error, "'");
}

// It is concluded with an I/O error at this offset of all, after `said`; the map is somewhere
// between what it was and what it should have become.
absl::Status CoEndsWithError(ChainStory& story, ChainMaps maps, std::string said, uint64_t offset)
    MILLRACE_MAY_SUSPEND {
  constexpr std::string_view kError = "Input/output error";
  maps.OnStreamBegun(1, std::nullopt);
  story.CoOver("s").IgnoreError();  // asked for below
  MILLRACE_ASSIGN_OR_RETURN(const JobInfo job, story.jobs().Query("s"));
  MILLRACE_RETURN_IF_ERROR(
      Must(job.error == kError && job.current == offset && job.total == kErrorBytes,
           StrCat("error: the job should end with '", kError, "' at ", offset, ", but ended with '",
                  job.error, "' at ", job.current, " of ", job.total)));
  MILLRACE_RETURN_IF_ERROR(MustBeShape(story, "n1 <- [fault] <- n0"));
  MILLRACE_RETURN_IF_ERROR(maps.Check(story));
  MILLRACE_RETURN_IF_ERROR(story.jobs().Dismiss("s"));
  const std::string end = StrCat("completed '", kError, "' ", offset, "/", kErrorBytes);
  return MustTell(story, {EndedWell("insert", "0/0"), Ended("s", {std::move(said)}, end)});
}

absl::Status CoStopsAndGoesOn(ChainStory& story, ChainMaps maps, std::string said,
                              JobIoStatus status) MILLRACE_MAY_SUSPEND {
  maps.OnStreamed(1, std::nullopt);
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
  MILLRACE_RETURN_IF_ERROR(Must(over.current == kErrorBytes, "stop: not all was done"));
  MILLRACE_RETURN_IF_ERROR(MustBeShape(story, "n1"));
  MILLRACE_RETURN_IF_ERROR(maps.Check(story));
  MILLRACE_RETURN_IF_ERROR(story.jobs().Dismiss("s"));
  return MustTell(
      story, {EndedWell("insert", "0/0"),
              EndedWell("s", kErrorBytes, {std::move(said), "status paused", "status running"})});
}

absl::Status CoReport(ChainStory& story) MILLRACE_MAY_SUSPEND {
  const ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(CoStartOverFault(story, EIO, OnError::kReport));
  return CoEndsWithError(story, maps, ErrorLine("report"), kFailsAt);
}

absl::Status CoIgnore(ChainStory& story) MILLRACE_MAY_SUSPEND {
  const ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(CoStartOverFault(story, EIO, OnError::kIgnore));
  return CoEndsWithError(story, maps, ErrorLine("ignore"), kErrorBytes);
}

absl::Status CoStop(ChainStory& story) MILLRACE_MAY_SUSPEND {
  const ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(CoStartOverFault(story, EIO, OnError::kStop));
  return CoStopsAndGoesOn(story, maps, ErrorLine("stop"), JobIoStatus::kFailed);
}

absl::Status CoEnospcReportsOthers(ChainStory& story) MILLRACE_MAY_SUSPEND {
  const ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(CoStartOverFault(story, EIO, OnError::kEnospc));
  return CoEndsWithError(story, maps, ErrorLine("report"), kFailsAt);
}

absl::Status CoEnospc(ChainStory& story) MILLRACE_MAY_SUSPEND {
  const ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(CoStartOverFault(story, ENOSPC, OnError::kEnospc));
  return CoStopsAndGoesOn(story, maps, ErrorLine("stop", "No space left on device"),
                          JobIoStatus::kNoSpace);
}

constexpr ChainStoryOptions kTwo = {
    .layers = 2, .guest_rounds = 0, .bytes = kErrorBytes, .cluster_bytes = kErrorClusterBytes};

const SimulatedCase kErrorStories[] = {
    {"report", kTwo, &CoReport}, {"ignore", kTwo, &CoIgnore},
    {"stop", kTwo, &CoStop},     {"enospc_reports_others", kTwo, &CoEnospcReportsOthers},
    {"enospc", kTwo, &CoEnospc},
};

}  // namespace

absl::Span<const SimulatedCase> ErrorStories() { return kErrorStories; }

}  // namespace millrace
