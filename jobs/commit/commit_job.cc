#include "millrace/jobs/commit/commit_job.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open_node.h"
#include "millrace/jobs/commit/commit_filter.h"
#include "millrace/jobs/copy/zero_range.h"
#include "millrace/jobs/late_refusal.h"
#include "millrace/jobs/mirror/mirror_job.h"
#include "millrace/jobs/start_rehearsal.h"

namespace millrace {
namespace {

// The job's edges to the root, to what it copies from, and to the base.
// Returns the last.
absl::StatusOr<Attachment> StageHolds(GraphTransaction& change, CommitProofs& proofs, NodeId root) {
  proofs.attachments.push_back(change.Attach(root, JobEdge(proofs, "main node", {})));
  const Permissions permissions = {kNoPermissions, kWriteUnchanged | kWrite};
  MILLRACE_ASSIGN_OR_RETURN(const NodeView top, change.Resolve(proofs.top));
  MILLRACE_ASSIGN_OR_RETURN(const NodeView base, change.Resolve(proofs.base));
  AttachmentOptions top_edge = JobEdge(proofs, "intermediate node", permissions);
  top_edge.reserved = kNoOtherWriters;
  proofs.attachments.push_back(change.Attach(proofs.top, std::move(top_edge)));
  HoldImagesBetween(change, top, base, &proofs);
  const PermissionSet grows = base.bytes() < top.bytes() ? kResize : kNoPermissions;
  AttachmentOptions base_edge = JobEdge(
      proofs, "base", {kConsistentRead | kWrite | grows, kConsistentRead | kWriteUnchanged});
  base_edge.reserved = kNoOtherWriters;
  return change.Attach(proofs.base, std::move(base_edge));
}

absl::StatusOr<Attachment> HoldChain(Graph& graph, CommitProofs& proofs, NodeId root)
    MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  change.OnBehalfOf(proofs.holder);
  MILLRACE_ASSIGN_OR_RETURN(Attachment writer, StageHolds(change, proofs, root));
  const absl::Status status = change.Commit().status();
  MILLRACE_MUTANT(kR60) MILLRACE_CHECK(status.ok(), "nobody can be in the way of a commit");
  MILLRACE_RETURN_IF_ERROR(status);
  return writer;
}

}  // namespace

class CommitJob::Mover final : public CopyMover {
 public:
  Mover(Graph& graph, Attachment& reader, Attachment& writer, NodeId lowest)
      : graph_(graph), reader_(reader), writer_(writer), lowest_(lowest) {}

  CopyResult CoMove(absl::Span<const ChainPart> parts) override MILLRACE_MAY_SUSPEND {
    std::vector<ByteRange> ranges;
    uint64_t bytes = 0;
    for (const ChainPart& part : parts) {
      ranges.push_back(part.range);
      bytes += part.range.bytes;
    }
    absl::StatusOr<IoBuffer> buffer = graph_.engine().buffers().TryTake(bytes, "commit");
    if (!buffer.ok()) return {buffer.status(), IoOperation::kRead};
    const IoVector memory(buffer->data(), bytes);
    if (reader_.CoTryShareParts(parts, writer_, memory))
      return {absl::OkStatus(), IoOperation::kRead};
    absl::Status status = reader_.CoReadParts(parts, memory);
    if (!status.ok()) return {status, IoOperation::kRead};
    return {writer_.CoWriteParts(ranges, memory), IoOperation::kWrite};
  }

  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND { return writer_.CoFlush(); }

  PathTraits Path() const override {
    const PathTraits above = reader_.PathBelow(lowest_);
    const PathTraits below = writer_.PathBelow(writer_.node());
    return {.is_plain = above.is_plain && below.is_plain,
            .wants_events = above.wants_events || below.wants_events};
  }

 private:
  Graph& graph_;
  Attachment& reader_;
  Attachment& writer_;
  const NodeId lowest_;
};

absl::StatusOr<CommitProofs> ClaimForNewCommit(Graph& graph, const JobManager& manager,
                                               const CommitOptions& options) {
  MILLRACE_ASSIGN_OR_RETURN(CommitProofs proofs, ClaimForCommit(graph, options, ""));
  // Only an active commit's filter stands before the job core has heard of the job.
  if (proofs.is_active) MILLRACE_RETURN_IF_ERROR(CheckFilterName(graph, options.job));
  MILLRACE_ASSIGN_OR_RETURN(proofs.holder->id, NewJobId(graph, manager, options.job, options.root));
  return proofs;
}

absl::StatusOr<JobNumber> CoStartCommit(Graph& graph, JobManager& manager, CommitOptions options) {
  MILLRACE_ASSIGN_OR_RETURN(CommitProofs proofs, ClaimForNewCommit(graph, manager, options));
  if (!options.job.spec.is_internal) options.job.spec.id = proofs.holder->id;
  if (proofs.is_active) {
    const NodeId lowest = proofs.lowest;
    return CoStartActiveCommit(graph, manager, std::move(proofs), lowest, options.job,
                               options.empties_top);
  }
  JobSpec spec = options.job.spec;
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<CommitJob> job,
                            CommitJob::CoCreate(graph, std::move(proofs), std::move(options)));
  return CoCreateAndStart(manager, std::move(spec), std::move(job));
}

absl::Status RehearseCommitStart(Graph& graph, CommitProofs proofs, const CommitOptions& options) {
  if (proofs.is_active) {
    const NodeId lowest = proofs.lowest;
    return RehearseActiveCommitStart(graph, std::move(proofs), lowest, options.job,
                                     options.empties_top);
  }
  NodeId filter;
  Attachment reader;
  Attachment writer;
  StartRehearsal rehearsal(graph, proofs);
  const auto rehearse = [&]() MILLRACE_OPENS_VIEW {
    MILLRACE_RETURN_IF_ERROR(rehearsal.ThenMakeWritable(proofs.base));
    MILLRACE_RETURN_IF_ERROR(rehearsal.Then([&](GraphTransaction& change) {
      filter = StageFilterBeside(change, MakeCommitFilter(), options.job.filter_name, proofs.top,
                                 JobEdge(proofs, "commit filter", {}), &reader);
      return absl::OkStatus();
    }));
    MILLRACE_RETURN_IF_ERROR(rehearsal.Then([&](GraphTransaction& change) {
      StageFilterInPlace(change, filter, proofs.top, &proofs.chain);
      return absl::OkStatus();
    }));
    return rehearsal.Then([&](GraphTransaction& change) -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(writer, StageHolds(change, proofs, options.root));
      return absl::OkStatus();
    });
  };
  return AsLateRefusal(rehearse(), proofs);
}

absl::Status CommitJob::CoSetUp(Graph& graph, CommitProofs& proofs, const CommitOptions& options,
                                CopySetUp* set_up) {
  MILLRACE_RETURN_IF_ERROR(CoMakeTargetWritable(graph, proofs, proofs.base, set_up));
  MILLRACE_RETURN_IF_ERROR(CoPutFilterAbove(graph, proofs, MakeCommitFilter(),
                                            options.job.filter_name, proofs.top,
                                            JobEdge(proofs, "commit filter", {}), set_up));
  MILLRACE_ASSIGN_OR_RETURN(set_up->writer, HoldChain(graph, proofs, options.root));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<CommitJob>> CommitJob::CoCreate(Graph& graph, CommitProofs proofs,
                                                               CommitOptions options) {
  CopySetUp set_up;
  absl::Status status = CoSetUp(graph, proofs, options, &set_up);
  if (!status.ok()) {
    CoTakeDown(graph, proofs, set_up, proofs.top, proofs.base);
    return AsLateRefusal(std::move(status), proofs);
  }
  return std::unique_ptr<CommitJob>(
      new CommitJob(graph, std::move(proofs), std::move(set_up), std::move(options)));
}

CommitJob::CommitJob(Graph& graph, CommitProofs commit_proofs, CopySetUp set_up,
                     CommitOptions options)
    : BlockJob(graph, std::move(static_cast<BlockJobProofs&>(commit_proofs))),
      options_(std::move(options)),
      top_(commit_proofs.top),
      base_(commit_proofs.base),
      lowest_(commit_proofs.lowest),
      set_up_(std::move(set_up)),
      mover_(std::make_unique<Mover>(graph, set_up_.filter, set_up_.writer, lowest_)),
      copier_(graph, set_up_.filter, *mover_,
              {.first = NodeId(),
               .last = lowest_,
               .target = NodeId(),
               .on_error = options_.job.on_error,
               .tuning = options_.job.copy}) {}

CommitJob::~CommitJob() = default;

std::vector<Attachment*> CommitJob::IoAttachments() { return set_up_.attachments(); }

// ---- The work ----------------------------------------------------------------------------------

absl::Status CommitJob::CoRun(JobContext& context) {
  const uint64_t total = set_up_.filter.bytes();
  context.SetRemaining(total);
  if (set_up_.writer.bytes() < total) {
    MILLRACE_RETURN_IF_ERROR(set_up_.writer.CoResize(total));
  }
  // What does not fail the job is tried again: nothing may be missing from the base.
  MILLRACE_RETURN_IF_ERROR(copier_.CoRun(context, total));
  return CoZeroRest(context);
}

std::optional<ByteRange> CommitJob::RestToZero(const GraphReader& reader) const {
  uint64_t shown = 0;
  for (NodeId overlay : OverlaysOn(reader, set_up_.filter.node())) {
    const absl::StatusOr<NodeView> node = reader.Resolve(overlay);
    if (node.ok()) shown = std::max(shown, node->bytes());
  }
  const uint64_t from = std::max(set_up_.filter.bytes(), zeroed_end_);
  const uint64_t end = std::min(shown, set_up_.writer.bytes());
  if (from >= end) return std::nullopt;
  return ByteRange(from, end - from);
}

std::optional<ByteRange> CommitJob::RestToZeroNow() {
  GraphView view(graph());
  return RestToZero(view);
}

absl::StatusOr<uint64_t> CommitJob::CoZeroNext(uint64_t bytes_max) {
  const std::optional<ByteRange> rest = RestToZeroNow();
  if (!rest) return 0;
  const ByteRange piece(rest->offset, std::min(rest->bytes, bytes_max));
  MILLRACE_ASSIGN_OR_RETURN(const ZeroedStart start,
                            CoZeroStart(set_up_.writer, piece, /*may_unmap=*/true));
  zeroed_end_ = piece.offset + start.bytes;
  if (start.written_bytes > 0) must_flush_ = true;
  return start.written_bytes;
}

absl::Status CommitJob::CoZeroRest(JobContext& context) {
  while (RestToZeroNow()) {
    // It lasts, and the graph may be another one afterwards: what is to be zeroed is asked anew.
    context.CoBeforePiece();
    if (context.is_cancelled()) return absl::OkStatus();
    const uint64_t bytes_max = context.speed() > 0 ? kCopyPieceBytesMax : kZeroBytesMax;
    const absl::StatusOr<uint64_t> written = CoZeroNext(bytes_max);
    if (written.ok()) {
      context.AccountBytes(*written);
      continue;
    }
    const absl::Status& status = written.status();
    const ErrorAction action =
        context.HandleError(options_.job.on_error, IoOperation::kWrite, status);
    if (action == ErrorAction::kReport) return status;
    if (action == ErrorAction::kIgnore) context.CoSleep(kErrorBackOff);
  }
  return absl::OkStatus();
}

// ---- The end -----------------------------------------------------------------------------------

// What was copied is durable before the images it came from are dropped.
absl::Status CommitJob::CoPrepare() {
  MILLRACE_RETURN_IF_ERROR(CoFlushBase());
  MILLRACE_MUTANT(kR03) {  // who stands on the filter, before the drain of the edit
    GraphView view(graph());
    MutantNote<std::vector<NodeId>>(this) = OverlaysOn(view, set_up_.filter.node());
  }
  return absl::OkStatus();
}

absl::Status CommitJob::CoFlushBase() {
  must_flush_ = false;
  absl::Status status = set_up_.writer.CoFlush();
  if (!status.ok()) must_flush_ = true;
  return status;
}

// An overlay may have come since, or grown.
absl::Status CommitJob::CoCatchUp() {
  while (RestToZeroNow()) {
    const absl::Status status = CoZeroNext(kZeroBytesMax).status();
    if (status.ok()) continue;
    context().HandleError(OnError::kReport, IoOperation::kWrite, status);
    return status;
  }
  return must_flush_ ? CoFlushBase() : absl::OkStatus();
}

bool CommitJob::IsCaughtUp(const GraphReader& reader) {
  return !must_flush_ && !RestToZero(reader);
}

std::vector<NodeId> CommitJob::NodesToDrain(const GraphReader&) const { return {top_}; }

void CommitJob::StageGraphEdit(GraphTransaction& change) {
  const NodeId filter = set_up_.filter.node();
  std::vector<NodeId> overlays = OverlaysOn(change, filter);
  MILLRACE_MUTANT(kR03) overlays = MutantNote<std::vector<NodeId>>(this);
  StageDetachIo(change, {{base_, "base"}});
  change.ReplaceNode(filter, base_);
  const BackingReference header =
      ReferenceTo(change, base_, options_.backing_filename, options_.masks_protocol);
  for (NodeId overlay : overlays) change.SetHeader(overlay, header);
}

absl::Status CommitJob::CoFollowUp() {
  absl::Status status = BlockJob::CoFollowUp();
  if (set_up_.target_was_read_only) status.Update(CoRestoreReadOnly(graph(), base_, holder()));
  return status;
}

void CommitJob::CoAbort() {
  CoTakeDown(graph(), proofs(), set_up_, top_, base_);
  proofs().claims.clear();  // also of a job that waits to be dismissed, as in QEMU
}

absl::StatusOr<bool> CommitJob::StagePlannedEnd(GraphTransaction& change, JobEnd end,
                                                bool restores) {
  if (end == JobEnd::kDismissed) return BlockJob::StagePlannedEnd(change, end, restores);
  const NodeId filter = set_up_.filter.node();
  bool keeps_claims = false;
  if (end == JobEnd::kUndone) {
    change.Show(proofs().chain);
    StageDetachAll(change);
    change.RemoveFilter(filter);
  } else {
    MILLRACE_ASSIGN_OR_RETURN(keeps_claims, BlockJob::StagePlannedEnd(change, end, restores));
  }
  if (set_up_.target_was_read_only && restores) StageReadOnly(change, base_, true);
  return keeps_claims;
}

}  // namespace millrace
