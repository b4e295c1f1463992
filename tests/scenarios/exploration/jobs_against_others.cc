// One job against everything else that may happen to its chain while it lives.
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "millrace/graph/operation_claim.h"
#include "millrace/jobs/mirror/mirror_job.h"
#include "tests/scenarios/exploration/catalogue.h"
#include "tests/scenarios/exploration/story_scenario.h"

namespace millrace {
namespace {

constexpr size_t kLayers = 4;

enum class Kind { kStream, kCommit, kActiveCommit, kMirror };

// An empty image of the disk's size beside the chain.
absl::StatusOr<NodeId> CoAddTarget(ChainStory& story, Attachment& keeper) MILLRACE_MAY_SUSPEND {
  MemoryOverlayOptions driver;
  driver.bytes = ChainStoryOptions().bytes;
  driver.filename = "target";
  NodeId node;
  {
    GraphTransaction change(story.graph());
    change.OnBehalfOf(story.chain().monitor_holder);
    node = change.AddNode(MakeMemoryOverlayDriver(std::move(driver)), {.name = "target"});
    AttachmentOptions keep;
    keep.holder = story.chain().monitor_holder;
    keep.stays_at_node = true;
    keeper = change.Attach(node, keep);
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  }
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(story.graph(), node));
  return node;
}

absl::Status CoStartMirrorJob(ChainStory& story, bool finalizes_late, OnError on_error,
                              MirrorOptions options = {}) MILLRACE_MAY_SUSPEND {
  Attachment keeper;
  options.spec.finalizes_automatically = !finalizes_late;
  options.spec.id = "job";
  options.spec.dismisses_automatically = false;
  options.source = story.chain().guest.node();
  if (options.granularity == 0) options.granularity = 512;
  options.on_source_error = options.on_target_error = on_error;
  MILLRACE_ASSIGN_OR_RETURN(options.target, CoAddTarget(story, keeper));
  absl::Status started = CoStartMirror(story.graph(), story.jobs(), std::move(options)).status();
  keeper.CoDetach();
  return started;
}

// n2's data goes up into it, or it goes down into n1; an active commit takes n3 down into n2, a
// mirror all of the disk to an image beside it. The job stays when it is over, so that its end is
// not missed.
absl::Status CoStart(ChainStory& story, Kind kind, bool finalizes_late = false,
                     OnError on_error = OnError::kReport) MILLRACE_MAY_SUSPEND {
  if (kind == Kind::kMirror) return CoStartMirrorJob(story, finalizes_late, on_error);
  if (kind == Kind::kStream) {
    StreamOptions options = story.StreamToBottom("job", 2, 1);
    options.spec.dismisses_automatically = false;
    options.spec.finalizes_automatically = !finalizes_late;
    options.on_error = on_error;
    return story.CoStart(std::move(options));
  }
  CommitOptions options =
      kind == Kind::kCommit ? story.Commit("job", 2, 1) : story.Commit("job", 3, 2);
  options.spec.dismisses_automatically = false;
  options.spec.finalizes_automatically = !finalizes_late;
  options.on_error = on_error;
  return story.CoStart(std::move(options));
}

std::string_view NameOf(Kind kind) {
  switch (kind) {
    case Kind::kStream:
      return "stream";
    case Kind::kCommit:
      return "commit";
    case Kind::kActiveCommit:
      return "active commit";
    case Kind::kMirror:
      return "mirror";
  }
  return "";
}

// Waits for the end; what becomes ready is completed then.
absl::Status CoEnd(ChainStory& story, Kind kind) MILLRACE_MAY_SUSPEND {
  while (kind == Kind::kActiveCommit || kind == Kind::kMirror) {
    MILLRACE_ASSIGN_OR_RETURN(const JobInfo info, story.jobs().Query("job"));
    if (info.state == JobState::kConcluded) break;
    if (info.state == JobState::kReady) {
      // Where a cancel that lets it end in peace is under way, this is refused, and it ends all the
      // same.
      const absl::Status completed = story.jobs().Complete("job");
      const std::optional<Conflict> conflict = ConflictOf(completed);
      if (!conflict || conflict->reason != ConflictReason::kCannotComplete) {
        MILLRACE_RETURN_IF_ERROR(completed);
      }
      break;
    }
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  }
  const absl::Status over = story.jobs().CoWaitUntilOver("job");
  MILLRACE_RETURN_IF_ERROR(story.jobs().Dismiss("job"));
  return over;
}

// What the views show after the job ended so.
void TakeIn(ChainStory& story, Kind kind, bool has_succeeded) {
  if (kind == Kind::kActiveCommit) {
    story.views().OnWritten(2);
  } else if (kind == Kind::kCommit && has_succeeded) {
    story.views().OnCommitted(2, 1);
  } else if (kind == Kind::kCommit) {
    story.views().OnWritten(1);
  }
}

using Other = std::function<absl::Status(ScenarioRun&, ChainStory&)>;

// What an other may do to the job: nothing that keeps it from succeeding; cancel it; claim or edit
// what it needs, so that it is refused, but once it is let in it succeeds.
enum class Harm { kNone, kCancels, kRefuses };

bool IsHarm(Harm harm, const absl::Status& started, const absl::Status& over) {
  return harm == Harm::kCancels   ? absl::IsCancelled(over)
         : harm == Harm::kRefuses ? absl::IsFailedPrecondition(started)
                                  : false;
}

// The job and the other run at once.
Scenario Against(Kind kind, std::string other_name, int guest_rounds, Harm harm, Other other) {
  return StoryScenario(
      StrCat(NameOf(kind), " against ", other_name),
      {.layers = kLayers, .guest_rounds = guest_rounds},
      [=](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        TaskScope scope("others");
        scope.Spawn("other", [&]() MILLRACE_MAY_SUSPEND { return other(run, story); });
        const absl::Status started = CoStart(story, kind);
        const absl::Status over = started.ok() ? CoEnd(story, kind) : started;
        TakeIn(story, kind, over.ok());
        absl::Status result = scope.CoJoin();
        if (!IsHarm(harm, started, over)) result.Update(over);
        return result;
      });
}

// ---- The others ---------------------------------------------------------------------------------

absl::Status CoDrain(ChainStory& story, size_t layer) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(
      DrainedSection drained,
      DrainedSection::CoBegin(story.graph(), {story.node(layer)}, {story.chain().monitor_holder}));
  CoYield("other.drained");
  return absl::OkStatus();
}

absl::Status CoDrainTwice(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(
      DrainedSection lower,
      DrainedSection::CoBegin(story.graph(), {story.node(0)}, {story.chain().monitor_holder}));
  MILLRACE_ASSIGN_OR_RETURN(
      DrainedSection upper,
      DrainedSection::CoBegin(story.graph(), {story.node(3)}, {story.chain().monitor_holder}));
  lower.End();
  CoYield("other.drained");
  return absl::OkStatus();
}

absl::Status CoPauseAndResume(ChainStory& story) MILLRACE_MAY_SUSPEND {
  story.jobs().Pause("job").IgnoreError();  // it may not be there yet, or not any more
  CoYield("other.paused");
  story.jobs().Resume("job").IgnoreError();
  CoYield("other.resumed");
  story.jobs().Pause("job").IgnoreError();
  story.jobs().Resume("job").IgnoreError();
  return absl::OkStatus();
}

absl::Status CoCancel(ChainStory& story, bool force) MILLRACE_MAY_SUSPEND {
  CoYield("other.cancel");
  story.jobs().Cancel("job", force).IgnoreError();
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

absl::Status CoSnapshot(ChainStory& story) MILLRACE_MAY_SUSPEND {
  Attachment keeper;
  MILLRACE_ASSIGN_OR_RETURN(const NodeId overlay, AddOverlay(story, keeper));
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(story.graph(), overlay));
  {
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(story.graph(), {story.node(3), overlay},
                                                      {story.chain().monitor_holder}));
    // A job that has the top for itself refuses it.
    const absl::Status appended = Append(story, drained, overlay);
    EXPECT_TRUE(appended.ok() || absl::IsFailedPrecondition(appended)) << appended;
  }
  keeper.CoDetach();
  return absl::OkStatus();
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

absl::Status CoResize(ChainStory& story) MILLRACE_MAY_SUSPEND {
  CoYield("other.resize");
  absl::StatusOr<Attachment> resizer = AttachToResize(story);
  EXPECT_TRUE(resizer.ok() || absl::IsFailedPrecondition(resizer.status())) << resizer.status();
  if (!resizer.ok()) return absl::OkStatus();
  story.views().OnWritten(kLayers - 1);
  const absl::Status resized = resizer->CoResize(ChainStoryOptions().bytes + 4 * 512);
  resizer->CoDetach();
  return resized;
}

absl::Status CoInsertFilter(ChainStory& story, size_t layer) MILLRACE_MAY_SUSPEND {
  const absl::Status inserted = story.CoInsertFilter("f", story.node(layer));
  EXPECT_TRUE(inserted.ok() || absl::IsFailedPrecondition(inserted) || absl::IsNotFound(inserted))
      << inserted;
  return absl::OkStatus();
}

absl::Status CoInsertAndRemove(ChainStory& story, size_t layer) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CoInsertFilter(story, layer));
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
      StrCat(NameOf(kind), " against a ", force ? "forced " : "", "cancel when it is pending"),
      {.layers = kLayers, .guest_rounds = 0},
      [=](ScenarioRun&, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_RETURN_IF_ERROR(CoStart(story, kind, true));
        TaskScope scope("users");
        const bool are_there = scope.Spawn("finalizer", [&]() MILLRACE_MAY_SUSPEND {
          story.CoFinalize("job").IgnoreError();  // it may be over
        }) && scope.Spawn("canceller", [&]() MILLRACE_MAY_SUSPEND {
          return CoCancelPending(story, force);
        });
        // Nobody else would end it.
        if (!are_there) story.jobs().Cancel("job", true).IgnoreError();
        const absl::Status over = CoEnd(story, kind);
        EXPECT_TRUE(over.ok() || absl::IsCancelled(over)) << over;
        TakeIn(story, kind, over.ok());
        return scope.CoJoin();
      });
}

// One read of a layer below the guest's fails, with every job policy that ends the job.
Scenario AgainstAnError(Kind kind, size_t nth) {
  return StoryScenario(
      StrCat(NameOf(kind), " against a failure of I/O number ", nth),
      {.layers = kLayers, .guest_rounds = 0},
      [=](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        run.engine().simulated_io()->Fail({.operation = SimulatedOperation::kMemory, .nth = nth});
        absl::Status over = CoStart(story, kind);
        const bool is_running = over.ok();
        if (is_running) over = CoEnd(story, kind);
        const bool has_failed = run.engine().simulated_io()->failed() > 0;
        run.engine().simulated_io()->ClearFailures();
        if (has_failed) run.Note(kMet, "failure", "");
        // Whoever got the error tells; a mirror's pass may try again.
        EXPECT_TRUE(over.ok() || has_failed) << over;
        TakeIn(story, kind, over.ok());
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
      StrCat(NameOf(kind), " against a user who mends what it has stopped at"),
      {.layers = kLayers, .guest_rounds = 0},
      [=](ScenarioRun& run, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_RETURN_IF_ERROR(CoStart(story, kind, false, OnError::kStop));
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
        const absl::Status over = CoEnd(story, kind);
        run.engine().simulated_io()->ClearFailures();
        TakeIn(story, kind, over.ok());
        // What fails once the copying is over ends the job, if that comes before it has stopped.
        EXPECT_TRUE(over.ok() || run.engine().simulated_io()->failed() > failed) << over;
        return scope.CoJoin();
      });
}

// A mirror that is asked for in another way, and a guest who writes meanwhile.
Scenario MirrorBesideGuest(std::string what, MirrorOptions options) {
  return StoryScenario(
      StrCat("mirror ", what, " against guest I/O"), {.layers = kLayers, .guest_rounds = 2},
      [=](ScenarioRun&, ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_RETURN_IF_ERROR(CoStartMirrorJob(story, false, OnError::kReport, options));
        return CoEnd(story, Kind::kMirror);
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
      scenarios.push_back(Against(kind, std::move(name), guest_rounds, harm, std::move(other)));
    };
    add("guest I/O", 2, Harm::kNone, [](ScenarioRun&, ChainStory&) { return absl::OkStatus(); });
    for (const size_t layer : {0u, 2u, 3u}) {
      add(StrCat("a drain of n", layer), 1, Harm::kNone,
          [layer](ScenarioRun&, ChainStory& story)
              MILLRACE_MAY_SUSPEND { return CoDrain(story, layer); });
    }
    add("two nested drains", 0, Harm::kNone,
        [](ScenarioRun&, ChainStory& story) MILLRACE_MAY_SUSPEND { return CoDrainTwice(story); });
    add("pause and resume", 0, Harm::kNone,
        [](ScenarioRun&, ChainStory& story)
            MILLRACE_MAY_SUSPEND { return CoPauseAndResume(story); });
    for (const bool force : {false, true}) {
      add(force ? "a forced cancel" : "a cancel", 1, Harm::kCancels,
          [force](ScenarioRun&, ChainStory& story)
              MILLRACE_MAY_SUSPEND { return CoCancel(story, force); });
    }
    add("a resize", 1, Harm::kRefuses,
        [](ScenarioRun&, ChainStory& story) MILLRACE_MAY_SUSPEND { return CoResize(story); });
    add("a snapshot", 1, Harm::kRefuses,
        [](ScenarioRun&, ChainStory& story) MILLRACE_MAY_SUSPEND { return CoSnapshot(story); });
    for (const size_t layer : {0u, 1u, 3u}) {
      add(StrCat("a filter above n", layer), 0, Harm::kRefuses,
          [layer](ScenarioRun&, ChainStory& story)
              MILLRACE_MAY_SUSPEND { return CoInsertFilter(story, layer); });
    }
    add("a filter that comes and goes", 0, Harm::kRefuses,
        [](ScenarioRun&, ChainStory& story)
            MILLRACE_MAY_SUSPEND { return CoInsertAndRemove(story, 0); });
    for (const bool force : {false, true}) scenarios.push_back(AgainstALateCancel(kind, force));
    for (const size_t nth : {1u, 2u, 3u, 5u}) scenarios.push_back(AgainstAnError(kind, nth));
    scenarios.push_back(AgainstAStop(kind));
  }
  for (Scenario& each : MirrorsBesideGuests()) scenarios.push_back(std::move(each));
  return scenarios;
}

}  // namespace millrace
