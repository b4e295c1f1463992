// Mirrors and active commits, with a guest that goes on writing.
#include <memory>
#include <utility>

#include "examples/race_gallery/entries.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/graph/drain.h"

namespace millrace::gallery {
namespace {

absl::Status CoStartUntilReady(Stage& stage, const MirrorOptions& options) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(options));
  stage.Require(stage.CoWaitForState("m", JobState::kReady), "I11", "mirror 'm' never gets ready");
  return absl::OkStatus();
}

absl::Status CoPivot(Stage& stage, MirrorOptions options) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoStartUntilReady(stage, options));
  // From here on the guest always has a request on its way.
  stage.engine().simulated_io()->SetLatency(kMillisecond / 8);
  MILLRACE_RETURN_IF_ERROR(stage.user().Complete("m"));
  stage.CoEndsWell("m");
  stage.Require(stage.chain().guest.node() == options.target, "I4",
                "the guest is not on the target 't'");
  return absl::OkStatus();
}

// The guest lands on the target without losing a write.
absl::Status CoMirrorPivots(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, stage.CoMirrorTo("t"));
  return CoPivot(stage, std::move(options));
}

// Memory for one piece only.
absl::Status CoMirrorWithSmallBuffer(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, stage.CoMirrorTo("t"));
  options.buffer_bytes = 512;
  return CoPivot(stage, std::move(options));
}

// Marks that are coarser than what the source's map can tell.
absl::Status CoMirrorWithCoarseMarks(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, stage.CoMirrorTo("t"));
  options.granularity = 1024;
  return CoPivot(stage, std::move(options));
}

// The guest lands on the target in the middle of its writes, and none is lost.
absl::Status CoPivotUnderWriter(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const MirrorOptions options, stage.CoMirrorTo("t"));
  MILLRACE_RETURN_IF_ERROR(CoStartUntilReady(stage, options));
  stage.engine().simulated_io()->SetLatency(kMillisecond / 8);
  stage.Spawn("writer", [&stage]() MILLRACE_MAY_SUSPEND {
    for (uint64_t sector = 0; sector < Stage::kSectors; sector += 2) {
      MILLRACE_RETURN_IF_ERROR(stage.disk().CoWrite(stage.chain().guest, sector, 2));
    }
    return absl::OkStatus();
  });
  CoYield();
  MILLRACE_RETURN_IF_ERROR(stage.user().Complete("m"));
  stage.CoEndsWell("m");
  stage.Require(stage.chain().guest.node() == options.target, "I4",
                "the guest is not on the target 't'");
  return absl::OkStatus();
}

// Four that never stop writing; the user's word must be done all the same.
absl::Status CoCompleteUnderLoad(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const MirrorOptions options, stage.CoMirrorTo("t"));
  MILLRACE_RETURN_IF_ERROR(CoStartUntilReady(stage, options));
  stage.engine().simulated_io()->SetLatency(kMillisecond / 8);
  const auto is_over = std::make_shared<bool>(false);  // the writers end after this function
  for (uint64_t i = 0; i < 4; ++i) {
    stage.Spawn("writer", [&stage, is_over, i]() MILLRACE_MAY_SUSPEND -> absl::Status {
      for (int round = 0; round < 200 && !*is_over; ++round) {
        MILLRACE_RETURN_IF_ERROR(stage.disk().CoWrite(stage.chain().guest, i * 4, 2));
      }
      stage.Require(*is_over, "I11", "mirror 'm' waits until nobody writes any more");
      return absl::OkStatus();
    });
  }
  stage.CoSleep(kMillisecond);  // so that there is always something to copy
  MILLRACE_RETURN_IF_ERROR(stage.user().Complete("m"));
  stage.CoEndsWell("m");
  *is_over = true;
  return absl::OkStatus();
}

// Some places are written while the mirror copies them for the first time.
absl::Status CoHotSpot(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, stage.CoMirrorTo("t"));
  options.job.spec.speed = int64_t{1} << 40;  // no limit in fact; piece by piece, several at a time
  stage.Spawn("writer", [&stage]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (uint64_t sector = 0; sector < Stage::kSectors; sector += 3) {
      MILLRACE_RETURN_IF_ERROR(stage.disk().CoWrite(stage.chain().guest, sector, 1));
    }
    return absl::OkStatus();
  });
  MILLRACE_RETURN_IF_ERROR(CoStartUntilReady(stage, options));
  MILLRACE_RETURN_IF_ERROR(stage.user().Complete("m"));
  stage.CoEndsWell("m");
  return absl::OkStatus();
}

// ---- Errors -------------------------------------------------------------------------------------

void FailWrites(Stage& stage, bool is_persistent) {
  stage.engine().simulated_io()->Fail({.operation = SimulatedOperation::kMemory,
                                       .path = "t",
                                       .nth = 1,
                                       .is_persistent = is_persistent});
}

// The target fails when the user completes the mirror: the guest stays where it is and goes on.
absl::Status CoTargetFailsAtTheEnd(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const MirrorOptions options, stage.CoMirrorTo("t"));
  MILLRACE_RETURN_IF_ERROR(CoStartUntilReady(stage, options));
  stage.engine().simulated_io()->SetLatency(kMillisecond / 8);
  stage.views().OnWritten(stage.options().layers - 1);
  int written = 0;
  bool is_over = false;
  TaskScope guest("guest");
  guest.Spawn("writer", [&stage, &written, &is_over]() MILLRACE_MAY_SUSPEND {
    while (!is_over) {
      if (stage.disk().CoWrite(stage.chain().guest, 0, 2).ok()) ++written;
    }
  });
  CoYield();
  MILLRACE_RETURN_IF_ERROR(stage.user().Complete("m"));
  // Its last copies are made in a drained section.
  stage.CoSleep(kMillisecond / 16 *
                static_cast<Nanoseconds>(1 + stage.Draw(8, "target fails after")));
  FailWrites(stage, true);
  stage.CoOver("m").IgnoreError();
  stage.engine().simulated_io()->ClearFailures();
  const int before = written;
  for (int i = 0; i < 100 && written == before; ++i) stage.CoSleep(kMillisecond);
  is_over = true;
  stage.Require(written > before, "I8",
                "the guest of 'drive0' stands still after job 'm' has ended");
  return guest.CoJoin();
}

// Several copies fail, and each stops the job; the user resumes it once.
absl::Status CoStopAndResume(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, stage.CoMirrorTo("t"));
  options.on_target_error = OnError::kStop;
  FailWrites(stage, true);
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(options));
  stage.Require(stage.CoWaitForState("m", JobState::kPaused), "I11", "job 'm' does not stop");
  stage.engine().simulated_io()->ClearFailures();
  MILLRACE_RETURN_IF_ERROR(stage.user().Resume("m"));
  stage.Require(stage.CoWaitForState("m", JobState::kReady), "I11",
                "job 'm' was resumed and does not go on");
  MILLRACE_RETURN_IF_ERROR(stage.user().Cancel("m", true));
  stage.CoOver("m").IgnoreError();
  return absl::OkStatus();
}

// One write to the target fails, which the job is to ignore: what it was to copy is still to be
// copied.
absl::Status CoIgnoreOneError(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, stage.CoMirrorTo("t"));
  options.on_target_error = OnError::kIgnore;
  static constexpr uint64_t kNth[] = {11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12};
  stage.engine().simulated_io()->Fail({.operation = SimulatedOperation::kMemory,
                                       .path = "t",
                                       .nth = kNth[stage.Draw(12, "operation that fails")]});
  return CoPivot(stage, std::move(options));
}

// What was copied since the last flush cannot be flushed any more, and the user gives up.
absl::Status CoCancelWithBrokenTarget(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, stage.CoMirrorTo("t"));
  options.on_target_error = OnError::kIgnore;
  MILLRACE_RETURN_IF_ERROR(CoStartUntilReady(stage, options));
  stage.views().OnWritten(stage.options().layers - 1);
  MILLRACE_RETURN_IF_ERROR(stage.disk().CoWrite(stage.chain().guest, 0, 2));
  stage.CoSleep(kSecond);
  stage.engine().simulated_io()->SetLatency(kMillisecond / 8);
  FailWrites(stage, true);
  MILLRACE_RETURN_IF_ERROR(stage.user().Cancel("m", true));
  for (int i = 0; i < 100 && stage.StateOf("m") != JobState::kNull; ++i) {
    stage.CoSleep(kMillisecond);
  }
  stage.Require(stage.StateOf("m") == JobState::kNull, "I12",
                "job 'm' was cancelled by force, and goes on");
  return absl::OkStatus();
}

// ---- Verbs --------------------------------------------------------------------------------------

// A mirror at half a KiB a second of five KiB, of which two may be ahead of the limit; its source
// is drained twice a second.
absl::Status CoDrainsBesidePacedMirror(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(MirrorOptions options, stage.CoMirrorTo("t"));
  options.job.spec.speed = 512;
  const Nanoseconds start = stage.engine().clock().Now();
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(options));
  for (;;) {
    stage.CoSleep(kSecond / 2);
    if (stage.StateOf("m") == JobState::kReady) break;
    MILLRACE_ASSIGN_OR_RETURN(const DrainedSection drained,
                              DrainedSection::CoBegin(stage.graph(), {stage.chain().top()}, {}));
    CoYield();
  }
  const Nanoseconds took = stage.engine().clock().Now() - start;
  stage.Require(
      took >= 6 * kSecond, "I14",
      StrCat("what takes 6 s by its speed limit took mirror 'm' ", took / kMillisecond, " ms"));
  MILLRACE_RETURN_IF_ERROR(stage.user().Cancel("m", true));
  stage.CoOver("m").IgnoreError();
  return absl::OkStatus();
}

// Completed while a drain holds the job.
absl::Status CoCompleteWhileDrained(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const MirrorOptions options, stage.CoMirrorTo("t"));
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(options));
  stage.Require(stage.CoWaitForState("m", JobState::kReady), "I11", "mirror 'm' never gets ready");
  {
    MILLRACE_ASSIGN_OR_RETURN(const DrainedSection drained,
                              DrainedSection::CoBegin(stage.graph(), {stage.chain().top()}, {}));
    const size_t events = stage.events().events().size();
    MILLRACE_RETURN_IF_ERROR(stage.user().Complete("m"));
    for (int i = 0; i < 6; ++i) CoYield();
    stage.Require(stage.events().events().size() == events, "I8",
                  "job 'm', which a drain holds, takes a step");
  }
  stage.CoEndsWell("m");
  return absl::OkStatus();
}

void AddLaterMirrorEntries(std::vector<Entry>& entries) {
  const StageOptions busy{.layers = 2, .guest_never_stops = true};
  const StageOptions quiet{.layers = 2, .guest_rounds = 0};
  entries.push_back(
      {Mutant::kR69,
       "R69",
       "one place is copied twice at a time",
       {"mirror-of-a-hot-spot", quiet, &CoHotSpot},
       Script{.recorded = "h75-119:n0#0,s4:n1@memory,s6:writer@io,s7:n1@memory,s12:n1@memory,"
                          "s20:n1@memory,s22:n1@memory,s29:n1@memory,s31:t@memory"}});
  entries.push_back({Mutant::kR72,
                     "R72",
                     "what is smaller than a mark is nothing, again and again",
                     {"mirror-with-coarse-marks",
                      {.layers = 2, .map_takes_step = true, .guest_rounds = 0},
                      &CoMirrorWithCoarseMarks},
                     Script()});
  entries.push_back({Mutant::kM08,
                     "M08",
                     "what could not be copied is not marked again",
                     {"ignore-one-error", busy, &CoIgnoreOneError},
                     Script()});
}

}  // namespace

void AddMirrorEntries(std::vector<Entry>& entries) {
  const StageOptions busy{.layers = 2, .guest_never_stops = true};
  const StageOptions quiet{.layers = 2, .guest_rounds = 0};
  const Scene pivot{"mirror-pivots", busy, &CoMirrorPivots};
  const Scene under_writer{"pivot-under-writer", quiet, &CoPivotUnderWriter};
  entries.push_back({Mutant::kR10, "R10",
                     "the marks are clean, then the drain begins, and nobody looks again",
                     under_writer, Script()});
  entries.push_back({Mutant::kR12, "R12",
                     "the job gives its permissions back before its last copies", under_writer,
                     Script()});
  entries.push_back(
      {Mutant::kR29a, "R29a", "a change is marked before the data are there", pivot, Script()});
  entries.push_back({Mutant::kR24a,
                     "R24a",
                     "whatever wakes a job that sleeps by its limit lets it copy on",
                     {"drains-beside-paced-mirror", quiet, &CoDrainsBesidePacedMirror},
                     Script()});
  entries.push_back({Mutant::kR26a,
                     "R26a",
                     "a flush that fails is tried again before anybody sees that the job is "
                     "cancelled",
                     {"cancel-with-broken-target", quiet, &CoCancelWithBrokenTarget},
                     Script()});
  entries.push_back({Mutant::kR55,
                     "R55",
                     "a drained section is forgotten by who fails in it",
                     {"target-fails-at-the-end", quiet, &CoTargetFailsAtTheEnd},
                     Script()});
  entries.push_back({Mutant::kR63,
                     "R63",
                     "each of several errors pauses the job once",
                     {"stop-and-resume", quiet, &CoStopAndResume},
                     Script()});
  entries.push_back({Mutant::kR65,
                     "R65",
                     "complete wakes a job that a drain holds",
                     {"complete-while-drained", busy, &CoCompleteWhileDrained},
                     Script()});
  entries.push_back({Mutant::kR11,
                     "R11",
                     "the mirror's filter is in place before its marks are",
                     {"mirror-slow-maps",
                      {.layers = 2, .map_takes_step = true, .guest_never_stops = true},
                      &CoMirrorPivots},
                     Script{.first = {"n1@memory#1"}}});
  entries.push_back({Mutant::kR13,
                     "R13",
                     "a copy waits for room, and is itself what takes the room",
                     {"mirror-with-small-buffer", quiet, &CoMirrorWithSmallBuffer},
                     Script()});
  entries.push_back({Mutant::kR15,
                     "R15",
                     "the mirror ends only when nobody has written anything meanwhile",
                     {"complete-under-load", quiet, &CoCompleteUnderLoad, /*judges_progress=*/true},
                     Script()});
  entries.push_back({Mutant::kR29b, "R29b", "a mark is cleared after its place has been copied",
                     pivot, Script()});
  AddLaterMirrorEntries(entries);
}

}  // namespace millrace::gallery
