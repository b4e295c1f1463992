#include "tests/scenarios/exploration/one_job.h"

#include <optional>
#include <utility>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"

namespace millrace {
namespace {

constexpr std::string_view kJob = "job";
// Of the five clusters of a layer; of the sixteen of the disk.
constexpr size_t kBatchesOfARound = 2;
constexpr uint64_t kMirrorBytesOfARound = 4 * 512;
constexpr std::string_view kWholeChain = "n3 <- n2 <- n1 <- n0";

// An empty image of the disk's size beside the chain.
absl::StatusOr<NodeId> CoAddMirrorTarget(ChainStory& story, Attachment& keeper)
    MILLRACE_MAY_SUSPEND {
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

absl::Status CoStartMirrorJob(ChainStory& story, const OneJobOptions& wanted) MILLRACE_MAY_SUSPEND {
  Attachment keeper;
  MirrorOptions options = wanted.mirror;
  options.job.spec.finalizes_automatically = !wanted.finalizes_late;
  options.job.spec.id = kJob;
  options.job.spec.dismisses_automatically = false;
  options.source = story.chain().guest.node();
  if (options.granularity == 0) options.granularity = 512;
  if (wanted.copies_in_rounds) options.buffer_bytes = kMirrorBytesOfARound;
  options.on_source_error = options.on_target_error = wanted.on_error;
  MILLRACE_ASSIGN_OR_RETURN(options.target, CoAddMirrorTarget(story, keeper));
  absl::Status started = story.CoStart(std::move(options));
  keeper.CoDetach();
  return started;
}

bool Switches(OneJobKind kind) {
  return kind == OneJobKind::kActiveCommit || kind == OneJobKind::kMirror;
}

// Tells it to make the switch once it is ready. Whether it was told; an error if that went wrong.
absl::StatusOr<bool> CoCompleteWhenReady(ChainStory& story) MILLRACE_MAY_SUSPEND {
  for (;;) {
    MILLRACE_ASSIGN_OR_RETURN(const JobInfo info, story.jobs().Query(kJob));
    if (info.state == JobState::kConcluded) return false;
    if (info.state == JobState::kReady) {
      const absl::Status completed = story.jobs().Complete(kJob);
      if (completed.ok()) return true;
      // Where a cancel that lets it end in peace is under way, this is refused, and it ends all the
      // same.
      const std::optional<Conflict> conflict = ConflictOf(completed);
      if (conflict && conflict->reason == ConflictReason::kCannotComplete) return false;
      return completed;
    }
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  }
}

std::string_view ChainAfter(OneJobKind kind) {
  switch (kind) {
    case OneJobKind::kStream:
      return "n3 <- n2 <- n0";
    case OneJobKind::kCommit:
      return "n3 <- n1 <- n0";
    case OneJobKind::kActiveCommit:
      return "n2 <- n1 <- n0";
    case OneJobKind::kMirror:
      return "target";
  }
  return "";
}

std::string ShapeWithoutUsersFilter(ChainStory& story) MILLRACE_OPENS_VIEW {
  constexpr std::string_view kFilter = "[f] <- ";
  std::string shape = story.Shape();
  const size_t filter = shape.find(kFilter);
  if (filter != std::string::npos) shape.erase(filter, kFilter.size());
  return shape;
}

}  // namespace

std::string_view OneJobName(OneJobKind kind) {
  switch (kind) {
    case OneJobKind::kStream:
      return "stream";
    case OneJobKind::kCommit:
      return "commit";
    case OneJobKind::kActiveCommit:
      return "active commit";
    case OneJobKind::kMirror:
      return "mirror";
  }
  return "";
}

absl::Status CoStartOneJob(ChainStory& story, OneJobKind kind, const OneJobOptions& wanted) {
  if (kind == OneJobKind::kMirror) return CoStartMirrorJob(story, wanted);
  if (kind == OneJobKind::kStream) {
    StreamOptions options = story.StreamToBottom(std::string(kJob), 2, 1);
    options.job.spec.dismisses_automatically = false;
    options.job.spec.finalizes_automatically = !wanted.finalizes_late;
    options.job.on_error = wanted.on_error;
    if (wanted.copies_in_rounds) options.job.copy.batches_max = kBatchesOfARound;
    return story.CoStart(std::move(options));
  }
  const size_t top = kind == OneJobKind::kCommit ? 2 : 3;
  CommitOptions options = story.Commit(std::string(kJob), top, top - 1);
  options.job.spec.dismisses_automatically = false;
  options.job.spec.finalizes_automatically = !wanted.finalizes_late;
  options.job.on_error = wanted.on_error;
  if (wanted.copies_in_rounds) options.job.copy.batches_max = kBatchesOfARound;
  return story.CoStart(std::move(options));
}

OneJobEnd CoEndOneJob(ChainStory& story, OneJobKind kind, const absl::Status& started) {
  OneJobEnd end;
  if (!started.ok()) return {started, false, false};
  if (Switches(kind)) {
    const absl::StatusOr<bool> told = CoCompleteWhenReady(story);
    end.is_to_switch = told.ok() && *told;
    end.status = told.status();
    // It would never end.
    if (!told.ok()) story.jobs().Cancel(kJob, true).IgnoreError();
  }
  end.status.Update(story.CoOver(kJob));
  end.status.Update(story.jobs().Dismiss(kJob));
  return end;
}

void JudgeChain(ScenarioRun& run, ChainStory& story, const absl::Status& over,
                std::string_view on_success, std::string_view at_first, std::string_view above) {
  const std::string shape = ShapeWithoutUsersFilter(story);
  const std::string_view separator = above.empty() ? "" : " <- ";
  const bool is_done = shape == StrCat(above, separator, on_success);
  const bool is_untouched = shape == StrCat(above, separator, at_first);
  // What fails after the edit (a header that cannot be written) fails the job, not the edit.
  const bool may_be_done = !absl::IsCancelled(over);
  if (over.ok() ? is_done : (is_untouched || (may_be_done && is_done))) return;
  run.Fail(StrCat("O3 chain after ", over.ok() ? "success" : "failure"),
           StrCat("the job ended with ", over.ToString(), ", and the chain is ", shape,
                  "; it was to be ", over.ok() ? on_success : at_first));
}

void JudgeChain(ScenarioRun& run, ChainStory& story, OneJobKind kind, const OneJobEnd& end,
                std::string_view above) {
  const bool moves = end.has_started && (!Switches(kind) || end.is_to_switch);
  JudgeChain(run, story, end.status, moves ? ChainAfter(kind) : kWholeChain, kWholeChain, above);
}

}  // namespace millrace
