// A job with several pieces in flight, and what meets it just then. The other stories let the
// explorer find such a moment; here it is waited for.
#include <array>
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
constexpr Nanoseconds kLatencyOfWindows = 4 * kMillisecond;

// A job of three layers; but an active commit of one, and a mirror of all of the disk.
struct WindowedCopy {
  OneJobKind kind = OneJobKind::kStream;
  bool blocks_writes = false;  // of a mirror

  std::string Name() const {
    return StrCat(OneJobName(kind), blocks_writes ? " that blocks writes" : "");
  }
};

absl::Status CoStartCopy(ChainStory& story, const WindowedCopy& copy) MILLRACE_MAY_SUSPEND {
  if (copy.kind == OneJobKind::kActiveCommit || copy.kind == OneJobKind::kMirror) {
    OneJobOptions options;
    options.copies_in_rounds = true;
    if (copy.blocks_writes) options.mirror.copy_mode = MirrorCopyMode::kWriteBlocking;
    return CoStartOneJob(story, copy.kind, options);
  }
  if (copy.kind == OneJobKind::kStream) {
    StreamOptions options = story.Stream("job", 3, 0);
    options.job.copy.batches_max = kWindow;
    options.job.spec.dismisses_automatically = false;
    return story.CoStart(std::move(options));
  }
  CommitOptions options = story.Commit("job", 2, 0);
  options.job.copy.batches_max = kWindow;
  options.job.spec.dismisses_automatically = false;
  return story.CoStart(std::move(options));
}

// Whether at least two pieces are in flight, or the one that an active commit of so small a disk
// has; false if the job is over without.
bool CoWaitForWindow(ScenarioRun& run, ChainStory& story, OneJobKind kind) MILLRACE_MAY_SUSPEND {
  const size_t pieces = kind == OneJobKind::kActiveCommit ? 1 : 2;
  for (;;) {
    if (run.engine().simulated_io()->in_flight() >= pieces) return true;
    const absl::StatusOr<JobInfo> info = story.jobs().Query("job");
    if (!info.ok() || info->state != JobState::kRunning) return false;
    CoSleepFor(kMillisecond).IgnoreError();
  }
}

using Meeting = std::function<absl::Status(ScenarioRun&, ChainStory&)>;

struct WindowOptions {
  WindowedCopy copy;
  bool may_end_it = false;  // the meeting may keep the job from succeeding
  bool is_guest = false;    // who meets it, and writes
};

Scenario InWindow(const WindowOptions& options, std::string_view name, Meeting meeting) {
  const WindowedCopy copy = options.copy;
  return StoryScenario(
      StrCat(copy.Name(), " with a window meets ", name),
      {.layers = kLayersOfWindows, .guest_rounds = 0},
      [=](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        if (options.is_guest) story.views().OnWritten(kLayersOfWindows - 1);
        run.engine().simulated_io()->SetLatency(kLatencyOfWindows);
        MILLRACE_RETURN_IF_ERROR(CoStartCopy(story, copy));
        TaskScope scope("others");
        scope.Spawn("other", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          if (!CoWaitForWindow(run, story, copy.kind)) return absl::OkStatus();
          run.Note(kMet, "window", "");
          return meeting(run, story);
        });
        const OneJobEnd end = CoEndOneJob(story, copy.kind, absl::OkStatus());
        const absl::Status result = scope.CoJoin();
        run.engine().simulated_io()->ClearFailures();
        EXPECT_TRUE(end.status.ok() || options.may_end_it) << end.status;
        if (copy.kind == OneJobKind::kStream || copy.kind == OneJobKind::kCommit) {
          // n1, n2 and n3 have become n3, or n2, n1 and n0 have become n0.
          JudgeChain(run, story, end.status, "n3 <- n0", "n3 <- n2 <- n1 <- n0");
        } else {
          JudgeChain(run, story, copy.kind, end);
        }
        return result;
      });
}

// J2: nothing of a paused job is in flight, and nothing starts.
absl::Status CoPause(ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND {
  if (!story.jobs().Pause("job").ok()) return absl::OkStatus();  // it has just ended
  for (;;) {
    const absl::StatusOr<JobInfo> info = story.jobs().Query("job");
    if (!info.ok() || info->state == JobState::kConcluded) return absl::OkStatus();
    if (info->state == JobState::kPaused) break;
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

// ---- A guest in the window ----------------------------------------------------------------------

// Where the guest changes two sectors, and when: one choice, so that a proof has its other delay
// still to spend. First in what is in flight as the window opens, across two pieces of that, and in
// what is not under way yet; at once, half-way between the ends of requests, and as the window that
// was read is being written.
constexpr std::array<uint64_t, 3> kPlacesOfGuest = {1, 5, 13};
constexpr std::array<Nanoseconds, 4> kDelaysOfGuest = {0, kLatencyOfWindows / 2, kLatencyOfWindows,
                                                       kLatencyOfWindows * 3 / 2};
constexpr std::array<std::string_view, 12> kComings = {
    "1 at once", "1 in 2 ms", "1 in 4 ms",  "1 in 6 ms",  "5 at once",  "5 in 2 ms",
    "5 in 4 ms", "5 in 6 ms", "13 at once", "13 in 2 ms", "13 in 4 ms", "13 in 6 ms"};

absl::StatusOr<uint64_t> CoComeToPlace(ScenarioRun& run) MILLRACE_MAY_SUSPEND {
  const size_t coming = run.Choose("the guest comes to", kComings);
  const Nanoseconds delay = kDelaysOfGuest[coming % kDelaysOfGuest.size()];
  if (delay > 0) MILLRACE_RETURN_IF_ERROR(CoSleepFor(delay));
  return kPlacesOfGuest[coming / kDelaysOfGuest.size()];
}

// A write, and beside it one that overlaps it, zeroes and a read; afterwards all is read.
absl::Status CoWriteInWindow(ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND {
  Attachment& guest = story.chain().guest;
  MILLRACE_ASSIGN_OR_RETURN(const uint64_t place, CoComeToPlace(run));
  TaskScope requests("requests");
  requests.Spawn("write",
                 [&]() MILLRACE_MAY_SUSPEND { return story.disk().CoWrite(guest, place + 1, 1); });
  requests.Spawn("zeroes", [&]() MILLRACE_MAY_SUSPEND {
    return story.disk().CoZero(guest, place + 2, 1, false);
  });
  requests.Spawn("read",
                 [&]() MILLRACE_MAY_SUSPEND { return story.disk().CoVerify(guest, place, 2); });
  absl::Status status = story.disk().CoWrite(guest, place, 2);
  status.Update(requests.CoJoin());
  status.Update(story.disk().CoVerify(guest, place, 3));
  return status;
}

// Two that overlap and a read beside them; no write, which would be copied again, and all of its
// granule with it.
absl::Status CoDiscardInWindow(ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND {
  Attachment& guest = story.chain().guest;
  MILLRACE_ASSIGN_OR_RETURN(const uint64_t place, CoComeToPlace(run));
  TaskScope requests("requests");
  requests.Spawn("discard", [&]() MILLRACE_MAY_SUSPEND {
    return story.disk().CoZero(guest, place + 1, 2, true);
  });
  requests.Spawn("read",
                 [&]() MILLRACE_MAY_SUSPEND { return story.disk().CoVerify(guest, place, 2); });
  absl::Status status = story.disk().CoZero(guest, place, 2, true);
  status.Update(requests.CoJoin());
  status.Update(story.disk().CoVerify(guest, place, 3));
  return status;
}

}  // namespace

std::vector<Scenario> CopyWindows() {
  std::vector<Scenario> scenarios;
  for (const OneJobKind kind : {OneJobKind::kStream, OneJobKind::kCommit}) {
    const WindowOptions goes_on = {.copy = {kind}};
    const WindowOptions may_end = {.copy = {kind}, .may_end_it = true};
    scenarios.push_back(InWindow(goes_on, "a pause", &CoPause));
    scenarios.push_back(InWindow(goes_on, "a drain", &CoDrainTop));
    scenarios.push_back(InWindow(may_end, "a cancel", &CoCancelCopy));
    scenarios.push_back(InWindow(may_end, "two errors", &CoFail));
    scenarios.push_back(InWindow(may_end, "a drain and a cancel", &CoDrainAndCancel));
  }
  for (const WindowedCopy& copy :
       {WindowedCopy{OneJobKind::kStream}, WindowedCopy{OneJobKind::kCommit},
        WindowedCopy{OneJobKind::kActiveCommit}, WindowedCopy{OneJobKind::kMirror},
        WindowedCopy{OneJobKind::kMirror, true}}) {
    const WindowOptions guest = {.copy = copy, .is_guest = true};
    scenarios.push_back(InWindow(guest, "guest I/O that writes", &CoWriteInWindow));
    scenarios.push_back(InWindow(guest, "guest I/O that discards", &CoDiscardInWindow));
  }
  return scenarios;
}

}  // namespace millrace
