// What users ask of jobs, at inconvenient moments.
#include <optional>
#include <utility>

#include "examples/race_gallery/entries.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/graph/drain.h"
#include "millrace/jobs/insert_filter/insert_filter_job.h"

namespace millrace::gallery {
namespace {

// ---- Pace ---------------------------------------------------------------------------------------

absl::Status CoLetLoose(Stage& stage) MILLRACE_MAY_SUSPEND {
  StreamOptions stream = stage.Stream("s", 3, 1);
  stream.job.spec.speed = 1;
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stream));
  stage.CoSleep(kSecond);
  MILLRACE_RETURN_IF_ERROR(stage.user().SetSpeed("s", 0));
  stage.CoEndsWell("s");
  stage.Require(stage.engine().clock().Now() < 10 * kSecond, "I11",
                "job 's' has no speed limit any more and sleeps on as if it had one");
  return absl::OkStatus();
}

absl::Status CoCancelAsleep(Stage& stage) MILLRACE_MAY_SUSPEND {
  StreamOptions stream = stage.Stream("s", 3, 1);
  stream.job.spec.speed = 1;
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stream));
  stage.CoSleep(kSecond);
  MILLRACE_RETURN_IF_ERROR(stage.user().Cancel("s", true));
  stage.CoOver("s").IgnoreError();
  stage.Require(stage.engine().clock().Now() < 10 * kSecond, "I12",
                "job 's' was cancelled and sleeps on");
  return absl::OkStatus();
}

// ---- Cancelling ---------------------------------------------------------------------------------

// What clients hear of the end, what the result is and what became of the chain must be one story.
void RequireOneStory(Stage& stage, std::string_view id, const absl::Status& result,
                     bool chain_has_changed) {
  stage.Require(result.ok() == chain_has_changed, "I13",
                StrCat("job '", id, result.ok() ? "' succeeded" : "' failed",
                       ", and the chain has ", chain_has_changed ? "changed" : "not changed"));
  for (const JobEvent& event : stage.events().events()) {
    if (event.id != id) continue;
    stage.Require(event.kind != JobEventKind::kCancelled || !chain_has_changed, "I13",
                  StrCat("job '", id, "' is reported as cancelled, and it changed the chain"));
  }
}

absl::Status CoCancelAtAnyTime(Stage& stage) MILLRACE_MAY_SUSPEND {
  stage.engine().simulated_io()->SetLatency(kMillisecond);
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.Stream("s", 3, 1)));
  stage.Spawn("user", [&stage]() MILLRACE_MAY_SUSPEND {
    if (stage.Draw(2, "cancelled in its way") == 1) {
      CoYieldTimes(30);
    } else {
      stage.CoWaitForState("s", JobState::kPending);
    }
    stage.user().Cancel("s", true).IgnoreError();
  });
  const absl::Status result = stage.CoOver("s");
  RequireOneStory(stage, "s", result, stage.Shape() == "n3 <- n1 <- n0");
  return absl::OkStatus();
}

// Two jobs that end together or not at all; one of them is cancelled.
absl::Status CoCancelOneOfTwo(Stage& stage) MILLRACE_MAY_SUSPEND {
  const std::shared_ptr<JobTransaction> together = stage.jobs().NewTransaction();
  StreamOptions slow = stage.Stream("s", 5, 3);
  slow.job.spec.transaction = together;
  slow.job.spec.speed = 1;
  StreamOptions quick = stage.Stream("q", 2, 0);
  quick.job.spec.transaction = together;
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(slow));
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(quick));
  stage.CoSleep(kSecond);
  MILLRACE_RETURN_IF_ERROR(stage.user().Cancel("s", true));
  RequireOneStory(stage, "s", stage.CoOver("s"), false);
  RequireOneStory(stage, "q", stage.CoOver("q"), false);
  stage.RequireShape({"n5 <- n4 <- n3 <- n2 <- n1 <- n0"});
  return absl::OkStatus();
}

// A commit is cancelled, and its range is used again.
absl::Status CoCancelCommitThenStream(Stage& stage) MILLRACE_MAY_SUSPEND {
  CommitOptions commit = stage.Commit("c", 3, 0);
  commit.job.spec.speed = 1;
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(commit));
  MILLRACE_RETURN_IF_ERROR(stage.user().Cancel("c", true));
  stage.CoOver("c").IgnoreError();
  for (size_t layer : {0u, 1u, 2u}) stage.views().OnWritten(layer);
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.Stream("s", 3, 0)));
  stage.CoEndsWell("s");
  stage.RequireShape({"n4 <- n3 <- n0"});
  return absl::OkStatus();
}

// An owner keeps the number of a job that is long gone, and cancels "it" when another one runs.
absl::Status CoCancelByOldNumber(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const JobNumber old,
                            CoStartStream(stage.graph(), stage.jobs(), stage.Stream("s", 3, 2)));
  stage.CoEndsWell("s");
  StreamOptions other = stage.Stream("t", 3, 1);
  other.job.spec.speed = 1024;
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(other));
  stage.user().Cancel(old, true).IgnoreError();
  stage.CoEndsWell("t");
  return absl::OkStatus();
}

// Two jobs that end together; somebody drains the upper one while the lower one prepares its end.
absl::Status CoDrainBetweenMembers(Stage& stage) MILLRACE_MAY_SUSPEND {
  const std::shared_ptr<JobTransaction> together = stage.jobs().NewTransaction();
  StreamOptions upper = stage.Stream("u", 5, 3);
  upper.job.spec.transaction = together;
  StreamOptions lower = stage.Stream("l", 2, 0);
  lower.job.spec.transaction = together;
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(upper));
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(lower));
  stage.engine().simulated_io()->SetLatency(kMillisecond);
  stage.Spawn("drainer", [&stage]() MILLRACE_MAY_SUSPEND {
    if (!stage.CoWaitForState("l", JobState::kPending)) return;
    const absl::StatusOr<DrainedSection> drained =
        DrainedSection::CoBegin(stage.graph(), {stage.node(5)}, {});
    stage.CoSleep(5 * kMillisecond);
  });
  stage.CoEndsWell("u");
  stage.CoEndsWell("l");
  stage.RequireShape({"n5 <- n3 <- n2 <- n0"});
  return absl::OkStatus();
}

// Everything is shut down while two jobs that end together are at work.
absl::Status CoShutDownTwo(Stage& stage) MILLRACE_MAY_SUSPEND {
  const std::shared_ptr<JobTransaction> together = stage.jobs().NewTransaction();
  StreamOptions upper = stage.Stream("u", 5, 3);
  upper.job.spec.transaction = together;
  StreamOptions lower = stage.Stream("l", 2, 0);
  lower.job.spec.transaction = together;
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(upper));
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(lower));
  return absl::OkStatus();
}

// Everything is shut down: two jobs are over and kept for dismissal, one is at work, slowly.
absl::Status CoShutDownMany(Stage& stage) MILLRACE_MAY_SUSPEND {
  for (const size_t top : {1u, 3u}) {
    StreamOptions quick = stage.Stream(StrCat("q", top), top, top - 1);
    quick.job.spec.dismisses_automatically = false;
    MILLRACE_RETURN_IF_ERROR(stage.CoStart(quick));
    stage.CoOver(StrCat("q", top)).IgnoreError();
  }
  StreamOptions slow = stage.Stream("s", 5, 3);
  slow.job.spec.speed = 1;
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(slow));
  CoYield();
  stage.jobs().CoShutdown();
  stage.Require(stage.engine().clock().Now() < 10 * kSecond, "I11",
                "shutting down waits for job 's', which nobody has told to stop");
  return absl::OkStatus();
}

// A user's pause: once the job is called paused it does no I/O (J2), until it is resumed.
absl::Status CoPauseMeansQuiet(Stage& stage) MILLRACE_MAY_SUSPEND {
  StreamOptions stream = stage.Stream("s", 3, 0);
  stream.job.spec.speed = int64_t{1} << 40;  // no limit in fact; piece by piece
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stream));
  CoYieldTimes(6);
  if (stage.user().Pause("s").ok() && stage.CoWaitForState("s", JobState::kPaused)) {
    const SimulatedIo& io = *stage.engine().simulated_io();
    const uint64_t before = io.completed(SimulatedOperation::kMemory);
    stage.CoSleep(kMillisecond);
    stage.Require(io.completed(SimulatedOperation::kMemory) == before, "J2",
                  "job 's' is paused and its requests go on");
    stage.user().Resume("s").IgnoreError();
  }
  stage.CoEndsWell("s");
  return absl::OkStatus();
}

// ---- Others in the way --------------------------------------------------------------------------

// Somebody who lets nobody write to the base: the commit is refused, and works once he is gone.
absl::Status CoCommitUnderReader(Stage& stage) MILLRACE_MAY_SUSPEND {
  AttachmentOptions reader;
  reader.holder = MakeHolder("backup", "reader");
  reader.permissions = {kConsistentRead, kConsistentRead};
  MILLRACE_ASSIGN_OR_RETURN(Attachment attachment,
                            Attachment::Attach(stage.graph(), stage.node(0), reader));
  const absl::Status refused = stage.CoStart(stage.Commit("c", 2, 0));
  stage.Require(
      absl::IsFailedPrecondition(refused), "I7",
      StrCat("a commit into n0, which may not be written: ", std::string(refused.message())));
  attachment.CoDetach();
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.Commit("c", 2, 0)));
  stage.CoEndsWell("c");
  stage.views().OnCommitted(2, 0);
  return absl::OkStatus();
}

void SpawnUnplugger(Stage& stage, int yields) {
  stage.Spawn("unplugger", [&stage, yields]() MILLRACE_MAY_SUSPEND {
    CoYieldTimes(yields);
    stage.chain().guest.CoDetach();
  });
}

// The disk is unplugged while a commit ends: nobody holds its images any more.
absl::Status CoUnplugWhileCommitEnds(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.Commit("c", 2, 0)));
  SpawnUnplugger(stage, 20);
  stage.CoEndsWell("c");
  return absl::OkStatus();
}

// ... and while a filter is taken out that only the guest's disk held.
absl::Status CoUnplugWhileFilterGoes(Stage& stage) MILLRACE_MAY_SUSPEND {
  InsertFilterOptions insert;
  insert.spec.id = "insert";
  insert.below = stage.chain().top();
  insert.filter_name = "f";
  MILLRACE_RETURN_IF_ERROR(
      CoStartInsertFilter(stage.graph(), stage.jobs(), MakePassFilter(), insert).status());
  stage.CoEndsWell("insert");
  RemoveFilterOptions remove;
  remove.spec.id = "remove";
  remove.filter = stage.Find("f");
  SpawnUnplugger(stage, 1);
  const absl::StatusOr<JobNumber> started =
      CoStartRemoveFilter(stage.graph(), stage.jobs(), remove);
  if (started.ok()) stage.CoEndsWell("remove");  // else the disk had gone before
  return absl::OkStatus();
}

absl::Status CoStreamEverything(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.Stream("s", 2, std::nullopt)));
  stage.CoEndsWell("s");
  stage.RequireShape({"n2"});
  return absl::OkStatus();
}

// A commit writes the header of n3 while a stream into n3 starts.
absl::Status CoStreamIntoCommitsOverlay(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.Commit("c", 2, 0)));
  stage.views().OnCommitted(2, 0);
  stage.Spawn("user", [&stage]() MILLRACE_MAY_SUSPEND {
    for (int i = 0; i < 6; ++i) {
      CoYieldTimes(4);
      const std::string id = StrCat("s", i);
      if (stage.CoStart(stage.StreamToBottom(id, 3, 3)).ok()) stage.CoEndsWell(id);
    }
  });
  stage.CoEndsWell("c");
  return absl::OkStatus();
}

// ---- Errors -------------------------------------------------------------------------------------

// One operation on the overlay fails: a job that fails leaves the chain as it was.
absl::Status CoStreamWithOneError(Stage& stage) MILLRACE_MAY_SUSPEND {
  static constexpr uint64_t kNth[] = {11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13};
  stage.engine().simulated_io()->Fail({.operation = SimulatedOperation::kMemory,
                                       .path = "n3",
                                       .nth = kNth[stage.Draw(13, "operation that fails")]});
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.Stream("s", 3, 1)));
  const absl::Status result = stage.CoOver("s");
  stage.engine().simulated_io()->ClearFailures();
  // A header that could not be written is the job's failure, too, and its edit stands.
  const bool is_of_header = std::string(result.message()).find("header") != std::string::npos;
  if (!result.ok() && !is_of_header) stage.RequireShape({"n3 <- n2 <- n1 <- n0"});
  return absl::OkStatus();
}

// The same, piece by piece, with several on their way.
absl::Status CoPieceFails(Stage& stage) MILLRACE_MAY_SUSPEND {
  static constexpr uint64_t kNth[] = {4, 1, 2, 3, 5, 6, 7, 8};
  stage.engine().simulated_io()->Fail({.operation = SimulatedOperation::kMemory,
                                       .path = "n3",
                                       .nth = kNth[stage.Draw(8, "operation that fails")]});
  StreamOptions stream = stage.Stream("s", 3, 1);
  stream.job.spec.speed = int64_t{1} << 40;  // no limit in fact
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stream));
  stage.CoOver("s").IgnoreError();
  stage.engine().simulated_io()->ClearFailures();
  return absl::OkStatus();
}

absl::Status CoStreamBesideGuest(Stage& stage) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stage.Stream("s", 3, 0)));
  stage.CoEndsWell("s");
  return absl::OkStatus();
}

// With a speed limit the job's filter keeps what the guest reads.
absl::Status CoSlowStreamBesideGuest(Stage& stage) MILLRACE_MAY_SUSPEND {
  StreamOptions stream = stage.Stream("s", 3, 0);
  stream.job.spec.speed = 1 << 20;
  MILLRACE_RETURN_IF_ERROR(stage.CoStart(stream));
  stage.CoEndsWell("s");
  return absl::OkStatus();
}

void AddLaterJobEntries(std::vector<Entry>& entries) {
  const StageOptions alone{.layers = 4, .guest_rounds = 0};
  const Scene cancelled{"cancel-commit-then-stream", {.layers = 5}, &CoCancelCommitThenStream};
  entries.push_back({Mutant::kR60,
                     "R60",
                     "a permission that is refused at the start aborts",
                     {"commit-under-reader", {.layers = 4}, &CoCommitUnderReader},
                     Script()});
  entries.push_back({Mutant::kR62, "R62", "an abort forgets to make the base read-only again",
                     cancelled, Script()});
  entries.push_back({Mutant::kR67,
                     "R67",
                     "the name of a job that is gone comes to mean another",
                     {"cancel-by-old-number", alone, &CoCancelByOldNumber},
                     Script()});
  entries.push_back({Mutant::kR77,
                     "R77",
                     "what is drained is named by the base, and there is none",
                     {"stream-everything", {.layers = 3}, &CoStreamEverything},
                     Script()});
  entries.push_back(
      {Mutant::kR81,
       "R81",
       "a job works on a node that it does not hold",
       {"unplug-while-filter-goes", {.layers = 2, .guest_rounds = 0}, &CoUnplugWhileFilterGoes},
       Script{.first = {"unplugger@*"}}});
  entries.push_back({Mutant::kM02,
                     "M02",
                     "what was copied is known to be durable only after the chain has been cut",
                     {"stream-with-one-error",
                      {.layers = 4, .guest_rounds = 0, .checks_views = false},
                      &CoStreamWithOneError},
                     Script()});
  entries.push_back(
      {Mutant::kM05,
       "M05",
       "a commit fails because somebody uses what it wanted to make read-only",
       {"stream-into-commits-overlay",
        {.layers = 5, .checks_read_only = false},
        &CoStreamIntoCommitsOverlay},
       Script{.last = {"user@yield", "n3@*"}, .first = {"c@*", "n0@*", "n1@*", "n2@*"}}});
  entries.push_back(
      {Mutant::kM11,
       "M11",
       "of the pieces that are copied at a time only the first one's error counts",
       {"piece-fails", {.layers = 4, .guest_rounds = 0, .checks_views = false}, &CoPieceFails},
       Script()});
  entries.push_back(
      {Mutant::kR70,
       "R70",
       "a copy on read reads what lies below like a guest: it waits for itself",
       {"slow-stream-and-a-guest", {.layers = 4, .guest_rounds = 8}, &CoSlowStreamBesideGuest},
       Script()});
  entries.push_back({Mutant::kM13,
                     "M13",
                     "a job that pauses begins nothing, but what it has begun goes on",
                     {"pause-means-quiet", alone, &CoPauseMeansQuiet},
                     Script{.recorded = "s54:sleep@timer"}});
  entries.push_back(
      {Mutant::kM06,
       "M06",
       "copy-on-read writes over what the guest wrote meanwhile",
       {"one-stream-and-a-guest", {.layers = 4, .guest_rounds = 8}, &CoStreamBesideGuest},
       Script{.recorded = "s12:n2@memory"}});
}

}  // namespace

void AddJobEntries(std::vector<Entry>& entries) {
  const StageOptions alone{.layers = 4, .guest_rounds = 0};
  const Scene asleep{"cancel-asleep", alone, &CoCancelAsleep};
  const Scene two{"cancel-one-of-two", {.layers = 6, .guest_rounds = 0}, &CoCancelOneOfTwo};
  const Scene cancelled{"cancel-commit-then-stream", {.layers = 5}, &CoCancelCommitThenStream};
  const Scene unplug{"unplug-while-commit-ends", alone, &CoUnplugWhileCommitEnds};
  entries.push_back({Mutant::kR06a, "R06a",
                     "a job that ends unfreezes all links of its chain but the lowest one",
                     cancelled, Script()});
  entries.push_back(
      {Mutant::kR09,
       "R09",
       "a drain does not hold a job that has returned from run",
       {"drain-between-members", {.layers = 6, .guest_rounds = 0}, &CoDrainBetweenMembers},
       Script()});
  entries.push_back({Mutant::kR24b,
                     "R24b",
                     "a new speed does not wake a job that sleeps by the old",
                     {"let-loose", alone, &CoLetLoose},
                     Script()});
  entries.push_back(
      {Mutant::kR25, "R25", "a timer fires after the sleep that it was for", asleep, Script()});
  entries.push_back({Mutant::kR26b,
                     "R26b",
                     "a cancel that comes when a job is finalizing turns its success around",
                     {"cancel-at-any-time", alone, &CoCancelAtAnyTime},
                     Script()});
  entries.push_back(
      {Mutant::kR26c, "R26c", "a cancel does not wake a job that sleeps", asleep, Script()});
  entries.push_back({Mutant::kR27, "R27",
                     "a job that has let go of its nodes insists on finding them", unplug,
                     Script()});
  entries.push_back({Mutant::kR48, "R48",
                     "an abort waits where the member that it waits for never calls", two,
                     Script{.first = {"sleep@timer"}}});
  entries.push_back({Mutant::kM19, "M19",
                     "an abort does not wait for members that are still at work", two,
                     Script{.first = {"sleep@timer"}}});
  entries.push_back({Mutant::kR40,
                     "R40",
                     "the list of jobs is walked while jobs go from it",
                     {"shut-down-many", {.layers = 6, .guest_rounds = 0}, &CoShutDownMany},
                     Script()});
  entries.push_back({Mutant::kR41,
                     "R41",
                     "closing does not wait for the coroutines of jobs that have ended",
                     {"shut-down-two", {.layers = 6, .guest_rounds = 0}, &CoShutDownTwo},
                     Script{.last = {"u@job.transaction", "l@job.transaction"}}});
  entries.push_back(
      {Mutant::kR42, "R42", "roots are closed although jobs still hold them", unplug, Script()});
  entries.push_back(
      {Mutant::kR56, "R56", "an abort undoes first what was done first", cancelled, Script()});
  entries.push_back({Mutant::kR57, "R57",
                     "a member of an aborted transaction keeps the success of its own work", two,
                     Script()});
  AddLaterJobEntries(entries);
}

}  // namespace millrace::gallery
