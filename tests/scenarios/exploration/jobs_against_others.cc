// One job against everything else that may happen to its chain while it lives.
#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "millrace/graph/operation_claim.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/one_job.h"
#include "tests/scenarios/exploration/story_scenario.h"

namespace millrace {
namespace {

using Kind = OneJobKind;

constexpr size_t kLayers = kLayersOfOneJob;

// A job and what meets it.
struct Encounter {
  const Kind kind;
  ScenarioRun& run;
  ChainStory& story;
  std::string_view on_top{};  // a layer that was put above the chain
};

using Other = std::function<absl::Status(Encounter&)>;

// What an other may do to the job: nothing that keeps it from succeeding; cancel it; claim or edit
// what it needs, so that it is refused, but once it is let in it succeeds.
enum class Harm { kNone, kCancels, kRefuses };

bool IsHarm(Harm harm, const OneJobEnd& end) {
  return harm == Harm::kCancels   ? absl::IsCancelled(end.status)
         : harm == Harm::kRefuses ? !end.has_started && absl::IsFailedPrecondition(end.status)
                                  : false;
}

// ---- When ---------------------------------------------------------------------------------------

// The job's requests take a millisecond each, and an other acts after so many of them, or a step
// later: one choice, so that a proof sees it at every moment of the job with its other delays still
// to spend. The first is at once, as the job starts; by the last the job is over.
constexpr size_t kStepsOfMoment = 2;
constexpr std::array<std::string_view, 20> kMoments = {
    "0", "0+1", "1", "1+1", "2", "2+1", "3", "3+1", "4", "4+1",
    "5", "5+1", "6", "6+1", "7", "7+1", "8", "8+1", "9", "9+1"};

absl::Status CoWaitForMoment(ScenarioRun& run) MILLRACE_MAY_SUSPEND {
  const size_t moment = run.Choose("acts after", kMoments);
  for (size_t i = 0; i < moment / kStepsOfMoment; ++i) {
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  }
  for (size_t i = 0; i < moment % kStepsOfMoment; ++i) CoYield("other.waits");
  return absl::OkStatus();
}

// Something has been copied, and there is more to copy. An active commit of so small a disk has one
// piece only: it is under way. meetings_test.cc demands of the scenarios that some schedule meets
// the job so.
bool IsMidCopy(const Encounter& met) {
  const absl::StatusOr<JobInfo> info = met.story.jobs().Query("job");
  if (!info.ok() || info->state == JobState::kConcluded || info->is_finalizing) return false;
  if (met.kind == Kind::kActiveCommit && info->current == 0) {
    return info->state == JobState::kRunning && met.run.engine().simulated_io()->in_flight() > 0;
  }
  return info->current > 0 && info->current < info->total;
}

// The job and the other run at once; none beside a guest who is enough.
Scenario Against(Kind kind, std::string other_name, int guest_rounds, Harm harm, Other other) {
  return StoryScenario(
      StrCat(OneJobName(kind), " against ", other_name),
      {.layers = kLayers, .guest_rounds = guest_rounds},
      [=](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        Encounter encounter{kind, run, story};
        TaskScope scope("others");
        if (other != nullptr) {
          run.engine().simulated_io()->SetLatency(kMillisecond);
          scope.Spawn("other", [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
            MILLRACE_RETURN_IF_ERROR(CoWaitForMoment(run));
            return other(encounter);
          });
        }
        const OneJobEnd end = CoEndOneJob(
            story, kind, CoStartOneJob(story, kind, {.copies_in_rounds = other != nullptr}));
        absl::Status result = scope.CoJoin();
        JudgeChain(run, story, kind, end, encounter.on_top);
        if (!IsHarm(harm, end)) result.Update(end.status);
        return result;
      });
}

// ---- The others ---------------------------------------------------------------------------------

// A job may have dropped the layer by the time it is to be drained.
bool IsGone(const absl::Status& status) {
  const std::optional<Conflict> conflict = ConflictOf(status);
  return conflict && conflict->reason == ConflictReason::kStaleNode;
}

absl::Status OkIfGone(const absl::Status& status) {
  return IsGone(status) ? absl::OkStatus() : status;
}

absl::Status CoDrain(Encounter& met, size_t layer) MILLRACE_MAY_SUSPEND {
  ChainStory& story = met.story;
  const absl::StatusOr<DrainedSection> drained =
      DrainedSection::CoBegin(story.graph(), {story.node(layer)}, {story.chain().monitor_holder});
  MILLRACE_SOMETIMES(drained.ok() && IsMidCopy(met), "others: a drain meets a job mid-copy");
  CoYield("other.drained");
  return OkIfGone(drained.status());
}

absl::Status CoDrainTwice(Encounter& met) MILLRACE_MAY_SUSPEND {
  ChainStory& story = met.story;
  absl::StatusOr<DrainedSection> lower =
      DrainedSection::CoBegin(story.graph(), {story.node(0)}, {story.chain().monitor_holder});
  if (!lower.ok()) return OkIfGone(lower.status());
  const absl::StatusOr<DrainedSection> upper =
      DrainedSection::CoBegin(story.graph(), {story.node(3)}, {story.chain().monitor_holder});
  MILLRACE_SOMETIMES(upper.ok() && IsMidCopy(met), "others: two drains meet a job mid-copy");
  lower->End();
  CoYield("other.drained");
  return OkIfGone(upper.status());
}

absl::Status CoPauseAndResume(Encounter& met) MILLRACE_MAY_SUSPEND {
  ChainStory& story = met.story;
  // It may not be there yet, or not any more.
  const bool is_mid_copy = IsMidCopy(met);
  const absl::Status paused = story.jobs().Pause("job");
  MILLRACE_SOMETIMES(paused.ok() && is_mid_copy, "others: a pause meets a job mid-copy");
  CoYield("other.paused");
  story.jobs().Resume("job").IgnoreError();
  CoYield("other.resumed");
  story.jobs().Pause("job").IgnoreError();
  if (paused.ok()) {
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(2 * kMillisecond));
    const absl::StatusOr<JobInfo> info = story.jobs().Query("job");
    MILLRACE_SOMETIMES(info.ok() && info->state == JobState::kPaused && IsMidCopy(met),
                       "others: a job is paused mid-copy");
  }
  story.jobs().Resume("job").IgnoreError();
  return absl::OkStatus();
}

absl::Status CoCancel(Encounter& met, bool force) MILLRACE_MAY_SUSPEND {
  ChainStory& story = met.story;
  CoYield("other.cancel");
  const bool is_mid_copy = IsMidCopy(met);
  const absl::Status cancelled = story.jobs().Cancel("job", force);
  MILLRACE_SOMETIMES(cancelled.ok() && is_mid_copy, "others: a cancel meets a job mid-copy");
  return absl::OkStatus();
}

// Puts an empty overlay on top of the chain, as an external snapshot does.
absl::StatusOr<NodeId> AddOverlay(ChainStory& story, Attachment& keeper) MILLRACE_OPENS_VIEW {
  auto image = std::make_shared<MemoryOverlayImage>(ChainStoryOptions().bytes, 512);
  image->backing = {"img-3", "memory-overlay"};
  MemoryOverlayOptions driver;
  driver.image = std::move(image);
  driver.filename = "snapshot";
  GraphTransaction change(story.graph());
  change.OnBehalfOf(story.chain().monitor_holder);
  const NodeId overlay =
      change.AddNode(MakeMemoryOverlayDriver(std::move(driver)), {.name = "snapshot"});
  AttachmentOptions keep;
  keep.holder = story.chain().monitor_holder;
  keep.stays_at_node = true;
  keeper = change.Attach(overlay, keep);
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return overlay;
}

absl::Status Append(ChainStory& story, const DrainedSection& drained, NodeId overlay)
    MILLRACE_OPENS_VIEW {
  const NodeId top = story.node(3);
  GraphTransaction change(story.graph());
  change.Show(drained).OnBehalfOf(story.chain().monitor_holder);
  change.ReplaceNode(top, overlay);
  change.SetBacking(overlay, top, std::nullopt);
  return change.Commit().status();
}

// A job that has the top for itself refuses it, and one that has moved the guest has dropped it.
absl::Status CoAppend(Encounter& met, NodeId overlay) MILLRACE_MAY_SUSPEND {
  ChainStory& story = met.story;
  const absl::StatusOr<DrainedSection> drained = DrainedSection::CoBegin(
      story.graph(), {story.node(3), overlay}, {story.chain().monitor_holder});
  if (!drained.ok()) return OkIfGone(drained.status());
  const bool is_mid_copy = IsMidCopy(met);
  const absl::Status appended = Append(story, *drained, overlay);
  EXPECT_TRUE(appended.ok() || absl::IsFailedPrecondition(appended)) << appended;
  if (appended.ok()) {
    met.on_top = "snapshot";
    story.OnEdited({ChainEdit::Kind::kSnapshot, "snapshot"});
  }
  MILLRACE_SOMETIMES(appended.ok() && is_mid_copy, "others: a snapshot beside a job mid-copy");
  MILLRACE_SOMETIMES(!appended.ok() && is_mid_copy, "others: a job mid-copy refuses a snapshot");
  return absl::OkStatus();
}

absl::Status CoSnapshot(Encounter& met) MILLRACE_MAY_SUSPEND {
  Attachment keeper;
  MILLRACE_ASSIGN_OR_RETURN(const NodeId overlay, AddOverlay(met.story, keeper));
  absl::Status status = CoOpenNode(met.story.graph(), overlay);
  if (status.ok()) status = CoAppend(met, overlay);
  keeper.CoDetach();
  return status;
}

// The guest's disk grows, as a client makes it, unless a job has it for itself.
absl::StatusOr<Attachment> AttachToResize(ChainStory& story) MILLRACE_OPENS_VIEW {
  const NodeId disk = story.chain().guest.node();
  {
    GraphView view(story.graph());
    MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(view, disk, Operation::kResize));
  }
  AttachmentOptions options;
  options.holder = story.chain().monitor_holder;
  options.permissions = {kResize, kAllPermissions};
  return Attachment::Attach(story.graph(), disk, options);
}

absl::Status CoResize(Encounter& met) MILLRACE_MAY_SUSPEND {
  ChainStory& story = met.story;
  CoYield("other.resize");
  const bool is_mid_copy = IsMidCopy(met);
  absl::StatusOr<Attachment> resizer = AttachToResize(story);
  EXPECT_TRUE(resizer.ok() || absl::IsFailedPrecondition(resizer.status())) << resizer.status();
  MILLRACE_SOMETIMES(resizer.ok() && is_mid_copy, "others: a resize beside a job mid-copy");
  MILLRACE_SOMETIMES(!resizer.ok() && is_mid_copy, "others: a job mid-copy refuses a resize");
  if (!resizer.ok()) return absl::OkStatus();
  story.views().OnWritten(kLayers - 1);
  const absl::Status resized = resizer->CoResize(ChainStoryOptions().bytes + 4 * 512);
  resizer->CoDetach();
  return resized;
}

absl::Status CoInsertFilter(Encounter& met, size_t layer) MILLRACE_MAY_SUSPEND {
  ChainStory& story = met.story;
  const bool is_mid_copy = IsMidCopy(met);
  const absl::Status inserted = story.CoInsertFilter("f", story.node(layer));
  EXPECT_TRUE(inserted.ok() || absl::IsFailedPrecondition(inserted) || absl::IsNotFound(inserted))
      << inserted;
  MILLRACE_SOMETIMES(inserted.ok() && is_mid_copy, "others: a filter comes beside a job mid-copy");
  MILLRACE_SOMETIMES(!inserted.ok() && is_mid_copy, "others: a job mid-copy refuses a filter");
  return absl::OkStatus();
}

absl::Status CoInsertAndRemove(Encounter& met, size_t layer) MILLRACE_MAY_SUSPEND {
  ChainStory& story = met.story;
  MILLRACE_RETURN_IF_ERROR(CoInsertFilter(met, layer));
  const NodeId filter = story.Find("f");
  if (!filter.is_valid()) return absl::OkStatus();
  const absl::Status removed = story.CoRemoveFilter(filter);
  EXPECT_TRUE(removed.ok() || absl::IsFailedPrecondition(removed) || absl::IsNotFound(removed))
      << removed;
  return absl::OkStatus();
}

// Cancels the job once it is pending, unless it has been finalized before that.
absl::Status CoCancelPending(ChainStory& story, bool force) MILLRACE_MAY_SUSPEND {
  for (;;) {
    const absl::StatusOr<JobInfo> info = story.jobs().Query("job");
    if (!info.ok() || info->state == JobState::kConcluded) return absl::OkStatus();
    if (info->state == JobState::kPending) {
      story.jobs().Cancel("job", force).IgnoreError();
      return absl::OkStatus();
    }
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  }
}

// The user finalizes it and cancels it, in some order.
Scenario AgainstALateCancel(Kind kind, bool force) {
  return StoryScenario(
      StrCat(OneJobName(kind), " against a ", force ? "forced " : "", "cancel when it is pending"),
      {.layers = kLayers, .guest_rounds = 0},
      [=](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_RETURN_IF_ERROR(CoStartOneJob(story, kind, {.finalizes_late = true}));
        TaskScope scope("users");
        const bool are_there = scope.Spawn("finalizer", [&]() MILLRACE_MAY_SUSPEND {
          story.CoFinalize("job").IgnoreError();  // it may be over
        }) && scope.Spawn("canceller", [&]() MILLRACE_MAY_SUSPEND {
          return CoCancelPending(story, force);
        });
        // Nobody else would end it.
        if (!are_there) story.jobs().Cancel("job", true).IgnoreError();
        const OneJobEnd end = CoEndOneJob(story, kind, absl::OkStatus());
        EXPECT_TRUE(end.status.ok() || absl::IsCancelled(end.status)) << end.status;
        absl::Status result = scope.CoJoin();
        JudgeChain(run, story, kind, end);
        return result;
      });
}

// One read of a layer below the guest's fails, with every job policy that ends the job.
Scenario AgainstAnError(Kind kind, size_t nth) {
  return StoryScenario(
      StrCat(OneJobName(kind), " against a failure of I/O number ", nth),
      {.layers = kLayers, .guest_rounds = 0},
      [=](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        run.engine().simulated_io()->Fail({.operation = SimulatedOperation::kMemory, .nth = nth});
        const OneJobEnd end = CoEndOneJob(story, kind, CoStartOneJob(story, kind));
        const bool has_failed = run.engine().simulated_io()->failed() > 0;
        run.engine().simulated_io()->ClearFailures();
        if (has_failed) run.Note(kMet, "failure", "");
        // Whoever got the error tells; a mirror's pass may try again.
        EXPECT_TRUE(end.status.ok() || has_failed) << end.status;
        JudgeChain(run, story, kind, end);
        return absl::OkStatus();
      });
}

// When the job has stopped, mends what has failed, and resumes it: once. If it stops again he gives
// it up. `failed` is how many operations had failed when he did so.
absl::Status CoMendAndResume(ScenarioRun& run, ChainStory& story, uint64_t* failed)
    MILLRACE_MAY_SUSPEND {
  for (int words = 0;;) {
    const absl::StatusOr<JobInfo> info = story.jobs().Query("job");
    if (!info.ok() || info->state == JobState::kConcluded) return absl::OkStatus();
    const bool is_stopped = info->state == JobState::kPaused || info->state == JobState::kStandby;
    // Paused for a drain of its own, it is not his to resume.
    if (is_stopped && words == 0 && story.jobs().Resume("job").ok()) {
      ++words;
      run.engine().simulated_io()->ClearFailures();
      *failed = run.engine().simulated_io()->failed();
      if (*failed > 0) run.Note(kMet, "stop", "");
    } else if (is_stopped && words == 1 && story.jobs().Resume("job").ok()) {
      ADD_FAILURE() << "one word was not enough";
      story.jobs().Cancel("job", true).IgnoreError();
      return absl::OkStatus();
    }
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  }
}

// One image fails again and again, and the job is told to stop then: however many of its pieces
// have failed, one word lets it go on, and it copies all.
Scenario AgainstAStop(Kind kind) {
  return StoryScenario(
      StrCat(OneJobName(kind), " against a user who mends what it has stopped at"),
      {.layers = kLayers, .guest_rounds = 0},
      [=](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_RETURN_IF_ERROR(CoStartOneJob(story, kind, {.on_error = OnError::kStop}));
        const char* const image =
            kind == Kind::kMirror ? "target" : (kind == Kind::kActiveCommit ? "n2" : "n1");
        run.engine().simulated_io()->Fail({.operation = SimulatedOperation::kMemory,
                                           .path = image,
                                           .nth = 1,
                                           .is_persistent = true});
        TaskScope scope("user");
        uint64_t failed = 0;
        const bool is_there = scope.Spawn(
            "user", [&]() MILLRACE_MAY_SUSPEND { return CoMendAndResume(run, story, &failed); });
        if (!is_there) story.jobs().Cancel("job", true).IgnoreError();
        const OneJobEnd end = CoEndOneJob(story, kind, absl::OkStatus());
        run.engine().simulated_io()->ClearFailures();
        // What fails once the copying is over ends the job, if that comes before it has stopped.
        EXPECT_TRUE(end.status.ok() || run.engine().simulated_io()->failed() > failed)
            << end.status;
        absl::Status result = scope.CoJoin();
        JudgeChain(run, story, kind, end);
        return result;
      });
}

// A mirror that is asked for in another way, and a guest who writes meanwhile.
Scenario MirrorBesideGuest(std::string what, MirrorOptions options) {
  return StoryScenario(
      StrCat("mirror ", what, " against guest I/O"), {.layers = kLayers, .guest_rounds = 2},
      [=](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        const OneJobEnd end = CoEndOneJob(story, Kind::kMirror,
                                          CoStartOneJob(story, Kind::kMirror, {.mirror = options}));
        JudgeChain(run, story, Kind::kMirror, end);
        return end.status;
      });
}

std::vector<Scenario> MirrorsBesideGuests() {
  MirrorOptions coarse;
  coarse.granularity = 1024;
  MirrorOptions small;
  small.buffer_bytes = 512;
  MirrorOptions blocking;
  blocking.copy_mode = MirrorCopyMode::kWriteBlocking;
  return {MirrorBesideGuest("with coarse marks", coarse),
          MirrorBesideGuest("with memory for one piece", small),
          MirrorBesideGuest("that blocks writes", blocking)};
}

}  // namespace

std::vector<Scenario> JobsAgainstOthers() {
  std::vector<Scenario> scenarios;
  for (const Kind kind : {Kind::kStream, Kind::kCommit, Kind::kActiveCommit, Kind::kMirror}) {
    auto add = [&](std::string name, int guest_rounds, Harm harm, Other other) {
      // Without a guest an active commit has nothing left to copy once it has been held.
      if (kind == Kind::kActiveCommit && harm == Harm::kNone)
        guest_rounds = std::max(guest_rounds, 1);
      scenarios.push_back(Against(kind, std::move(name), guest_rounds, harm, std::move(other)));
    };
    add("guest I/O", 2, Harm::kNone, nullptr);
    for (const size_t layer : {0u, 2u, 3u}) {
      add(StrCat("a drain of n", layer), 1, Harm::kNone,
          [layer](Encounter& met) MILLRACE_MAY_SUSPEND { return CoDrain(met, layer); });
    }
    add("two nested drains", 0, Harm::kNone,
        [](Encounter& met) MILLRACE_MAY_SUSPEND { return CoDrainTwice(met); });
    add("pause and resume", 0, Harm::kNone,
        [](Encounter& met) MILLRACE_MAY_SUSPEND { return CoPauseAndResume(met); });
    for (const bool force : {false, true}) {
      add(force ? "a forced cancel" : "a cancel", 1, Harm::kCancels,
          [force](Encounter& met) MILLRACE_MAY_SUSPEND { return CoCancel(met, force); });
    }
    add("a resize", 1, Harm::kRefuses,
        [](Encounter& met) MILLRACE_MAY_SUSPEND { return CoResize(met); });
    add("a snapshot", 1, Harm::kRefuses,
        [](Encounter& met) MILLRACE_MAY_SUSPEND { return CoSnapshot(met); });
    for (const size_t layer : {0u, 1u, 3u}) {
      add(StrCat("a filter above n", layer), 0, Harm::kRefuses,
          [layer](Encounter& met) MILLRACE_MAY_SUSPEND { return CoInsertFilter(met, layer); });
    }
    add("a filter that comes and goes", 0, Harm::kRefuses,
        [](Encounter& met) MILLRACE_MAY_SUSPEND { return CoInsertAndRemove(met, 0); });
    for (const bool force : {false, true}) scenarios.push_back(AgainstALateCancel(kind, force));
    for (const size_t nth : {1u, 2u, 3u, 5u}) scenarios.push_back(AgainstAnError(kind, nth));
    scenarios.push_back(AgainstAStop(kind));
  }
  for (Scenario& each : MirrorsBesideGuests()) scenarios.push_back(std::move(each));
  return scenarios;
}

}  // namespace millrace
