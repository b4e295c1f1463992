#include "millrace/jobs/stream/stream_job.h"

#include <utility>

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/filters/copy_on_read.h"
#include "millrace/graph/open_node.h"
#include "millrace/jobs/late_refusal.h"
#include "millrace/jobs/start_rehearsal.h"

namespace millrace {
namespace {

std::string NameOf(Graph& graph, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(graph);
  absl::StatusOr<NodeView> node = view.Resolve(id);
  return node.ok() ? node->name() : std::string();
}

constexpr absl::string_view kStepPayload = "millrace/stream-step";
constexpr absl::string_view kMakeFilterStep = "make filter";
constexpr absl::string_view kPutFilterInPlaceStep = "put filter in place";

absl::Status At(absl::string_view step, absl::Status status) {
  if (!status.ok()) status.SetPayload(kStepPayload, absl::Cord(step));
  return status;
}

// Holds the nodes of the chain below the filter, with the permissions of a stream's edges, and from
// now on reads through the filter. What the guest writes passes from the top to the overlay,
// through filters perhaps; nobody writes below.
absl::Status StageHolds(GraphTransaction& change, StreamProofs& proofs, const Attachment& reader,
                        NodeId top, NodeId lease_end) {
  bool is_written = true;
  change.SetPermissions(reader, {kConsistentRead, kConsistentRead | kWriteUnchanged | kWrite});
  absl::StatusOr<NodeView> start = change.Resolve(top);
  MILLRACE_RETURN_IF_ERROR(start.status());
  for (NodeId id : ChainFrom(*start, lease_end)) {
    const PermissionSet shared = kConsistentRead | kWriteUnchanged;
    const std::string purpose = id == top ? "active node" : "intermediate node";
    proofs.attachments.push_back(change.Attach(
        id, JobEdge(proofs, purpose, {kNoPermissions, is_written ? shared | kWrite : shared})));
    if (id == proofs.overlay) is_written = false;
  }
  return absl::OkStatus();
}

absl::Status HoldNodes(Graph& graph, StreamProofs& proofs, const Attachment& reader, NodeId top,
                       NodeId lease_end) MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  change.OnBehalfOf(proofs.holder);
  MILLRACE_RETURN_IF_ERROR(StageHolds(change, proofs, reader, top, lease_end));
  return change.Commit().status();
}

// Nothing is read yet: whoever is in the way of the filter itself is told first, as in QEMU.
AttachmentOptions FilterEdge(const StreamProofs& proofs) {
  return JobEdge(proofs, "main node", {kNoPermissions, kConsistentRead | kWriteUnchanged | kWrite});
}

CopyOnReadOptions FilterOptions(Graph& graph, const StreamProofs& proofs,
                                std::shared_ptr<bool> reads_pass) MILLRACE_OPENS_VIEW {
  CopyOnReadOptions filter;
  filter.bottom = NameOf(graph, proofs.bottom);
  filter.is_unleasable = true;
  filter.reads_pass = std::move(reads_pass);
  return filter;
}

}  // namespace

StreamStep StreamStepOf(const absl::Status& refusal) {
  const absl::optional<absl::Cord> step = refusal.GetPayload(kStepPayload);
  if (!step.has_value()) return StreamStep::kOther;
  return *step == kMakeFilterStep ? StreamStep::kMakeFilter : StreamStep::kPutFilterInPlace;
}

// What the filter is made to read, it keeps. What guests read it keeps only while the job does not
// come by at full speed itself: to read a whole cluster and write it would make their reads several
// times as long.
class StreamJob::Mover final : public CopyMover {
 public:
  Mover(Attachment& reader, NodeId bottom, std::shared_ptr<bool> reads_pass)
      : reader_(reader), bottom_(bottom), reads_pass_(std::move(reads_pass)) {}

  CopyResult CoMove(absl::Span<const ChainPart> parts) override MILLRACE_MAY_SUSPEND {
    return {reader_.CoPrefetch(parts), IoOperation::kRead};
  }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND { return reader_.CoFlush(); }
  PathTraits Path() const override { return reader_.PathBelow(bottom_); }
  void OnPace(bool is_full_speed) override;

 private:
  Attachment& reader_;
  const NodeId bottom_;
  const std::shared_ptr<bool> reads_pass_;
};

void StreamJob::Mover::OnPace(bool is_full_speed) {
  *reads_pass_ = is_full_speed && !MILLRACE_BUGGIFY("stream: keeps what guests read");
}

absl::StatusOr<StreamProofs> ClaimForNewStream(Graph& graph, const JobManager& manager,
                                               const StreamOptions& options) {
  MILLRACE_RETURN_IF_ERROR(CheckGiven(options.top, "StreamOptions::top"));
  MILLRACE_RETURN_IF_ERROR(At(kMakeFilterStep, CheckFilterName(graph, options.job)));
  MILLRACE_ASSIGN_OR_RETURN(const std::string id,
                            NewJobId(graph, manager, options.job, options.top));
  return ClaimForStream(graph, options, id);
}

absl::StatusOr<JobNumber> CoStartStream(Graph& graph, JobManager& manager, StreamOptions options) {
  MILLRACE_ASSIGN_OR_RETURN(StreamProofs proofs, ClaimForNewStream(graph, manager, options));
  if (!options.job.spec.is_internal) options.job.spec.id = proofs.holder->id;
  JobSpec spec = options.job.spec;
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<StreamJob> job,
                            StreamJob::CoCreate(graph, std::move(proofs), std::move(options)));
  return CoCreateAndStart(manager, std::move(spec), std::move(job));
}

absl::Status RehearseStreamStart(Graph& graph, StreamProofs proofs, const StreamOptions& options) {
  const NodeId top = proofs.chain.top();
  const NodeId lease_end = proofs.chain.last();
  const CopyOnReadOptions filter_options = FilterOptions(graph, proofs, nullptr);
  NodeId filter;
  Attachment reader;
  StartRehearsal rehearsal(graph, proofs);
  MILLRACE_RETURN_IF_ERROR(rehearsal.ThenMakeWritable(proofs.overlay));
  MILLRACE_RETURN_IF_ERROR(At(kMakeFilterStep, rehearsal.Then([&](GraphTransaction& change) {
    filter = StageFilterBeside(change, MakeCopyOnReadDriver(filter_options),
                               options.job.filter_name, top, FilterEdge(proofs), &reader);
    return absl::OkStatus();
  })));
  absl::Status status = rehearsal.Then(
      [&](GraphTransaction& change) { return StageHolds(change, proofs, reader, top, lease_end); });
  MILLRACE_RETURN_IF_ERROR(AsLateRefusal(std::move(status), proofs));
  return At(kPutFilterInPlaceStep, rehearsal.Then([&](GraphTransaction& change) {
    StageFilterInPlace(change, filter, top, &proofs.chain);
    return absl::OkStatus();
  }));
}

absl::StatusOr<std::unique_ptr<StreamJob>> StreamJob::CoCreate(Graph& graph, StreamProofs proofs,
                                                               StreamOptions options) {
  const NodeId top = proofs.chain.top();
  const NodeId lease_end = proofs.chain.last();
  const bool was_read_only = IsReadOnly(graph, proofs.overlay);
  MILLRACE_MUTANT(kR05) {
    proofs.claims.clear();
    proofs.chain.Release();
  }
  if (was_read_only) {
    MILLRACE_RETURN_IF_ERROR(CoSetReadOnly(graph, proofs.overlay, false, proofs.holder));
  }
  MILLRACE_MUTANT(kR05) {  // the reopen has suspended
    absl::StatusOr<FrozenChain> late = [&]() MILLRACE_OPENS_VIEW {
      GraphView view(graph);
      return FrozenChain::Freeze(view, top, lease_end, proofs.holder);
    }();
    if (!late.ok()) {
      CoTryRestoreReadOnly(graph, proofs.overlay, proofs.holder);
      return late.status();
    }
    proofs.chain = *std::move(late);
  }
  const auto reads_pass = std::make_shared<bool>(false);
  CopyOnReadOptions filter = FilterOptions(graph, proofs, reads_pass);
  absl::StatusOr<Attachment> reader =
      CoAddFilterBeside(graph, MakeCopyOnReadDriver(std::move(filter)), options.job.filter_name,
                        top, FilterEdge(proofs));
  absl::Status status = At(kMakeFilterStep, reader.status());
  if (status.ok()) {
    status = AsLateRefusal(HoldNodes(graph, proofs, *reader, top, lease_end), proofs);
  }
  if (status.ok()) {
    status = At(kPutFilterInPlaceStep,
                CoPutFilterInPlace(graph, reader->node(), top, proofs.holder, &proofs.chain));
  }
  if (!status.ok()) {
    std::vector<Attachment*> attachments;
    for (Attachment& attachment : proofs.attachments) attachments.push_back(&attachment);
    if (reader.ok()) attachments.push_back(&*reader);
    CoUndoSetUp(graph, proofs, reader.ok() ? reader->node() : NodeId(), top, attachments);
    if (was_read_only) CoTryRestoreReadOnly(graph, proofs.overlay, proofs.holder);
    return status;
  }
  proofs.ClaimAll(graph, reader->node());
  MILLRACE_MUTANT(kR04b) {
    GraphView view(graph);
    const std::optional<NodeId> base = proofs.chain.Below(view);
    if (base) MutantNote<BackingReference>(proofs.overlay.slot) = ReferenceTo(view, *base, "");
  }
  return std::unique_ptr<StreamJob>(new StreamJob(graph, std::move(proofs),
                                                  {*std::move(reader), reads_pass},
                                                  std::move(options), was_read_only));
}

StreamJob::StreamJob(Graph& graph, StreamProofs stream_proofs, Filter filter, StreamOptions options,
                     bool was_read_only)
    : BlockJob(graph, std::move(static_cast<BlockJobProofs&>(stream_proofs))),
      options_(std::move(options)),
      overlay_(stream_proofs.overlay),
      bottom_(stream_proofs.bottom),
      reader_(std::move(filter.reader)),
      was_read_only_(was_read_only),
      mover_(std::make_unique<Mover>(reader_, bottom_, std::move(filter.reads_pass))),
      copier_(graph, reader_, *mover_,
              {.first = overlay_,
               .last = bottom_,
               .target = overlay_,
               .on_error = options_.job.on_error,
               .ignoring_skips = true,
               .names_reads_only = true,
               .tuning = options_.job.copy}) {}

StreamJob::~StreamJob() = default;

// ---- The work ----------------------------------------------------------------------------------

absl::Status StreamJob::CoRun(JobContext& context) {
  if (overlay_ == bottom_) return absl::OkStatus();  // nothing between: only the link changes
  return copier_.CoRun(context, reader_.bytes());
}

// ---- The end -----------------------------------------------------------------------------------

// What was copied is durable before the chain is cut: a header that says so must never be on disk
// without the data.
absl::Status StreamJob::CoPrepare() {
  const absl::Status flushed = reader_.CoFlush();
  MILLRACE_MUTANT(kM02) {  // what became of it is told when the chain has been cut
    MutantNote<absl::Status>(this) = flushed;
    return absl::OkStatus();
  }
  MILLRACE_RETURN_IF_ERROR(flushed);
  MILLRACE_MUTANT(kR02) {  // fetched before the drain of the edit, and kept alive
    GraphView view(graph());
    MutantNote<std::optional<NodeId>>(this) = proofs().chain.Below(view);
  }
  MILLRACE_MUTANT(kR02) {
    if (const std::optional<NodeId> base = MutantNote<std::optional<NodeId>>(this)) {
      MILLRACE_ASSIGN_OR_RETURN(Attachment keep,
                                Attachment::Attach(graph(), *base, JobEdge(proofs(), "base", {})));
      proofs().attachments.push_back(std::move(keep));
    }
  }
  MILLRACE_MUTANT(kR04a) {  // the header before the edit
    const absl::StatusOr<AppliedEdit> edit = [&]() MILLRACE_OPENS_VIEW {
      GraphTransaction change(graph());
      const std::optional<NodeId> base = proofs().chain.Below(change);
      change.SetHeader(overlay_, base ? ReferenceTo(change, *base, "") : BackingReference());
      return change.Commit();
    }();
    MILLRACE_RETURN_IF_ERROR(edit.status());
    return CoSyncBackingHeaders(graph(), edit->headers, holder());
  }
  return absl::OkStatus();
}

std::vector<NodeId> StreamJob::NodesToDrain(const GraphReader& reader) const {
  MILLRACE_MUTANT(kR77) {  // what is drained is named by the base
    const std::optional<NodeId> base = proofs().chain.Below(reader);
    return base ? std::vector<NodeId>{*base} : std::vector<NodeId>();
  }
  return {overlay_};
}

void StreamJob::StageGraphEdit(GraphTransaction& change) {
  const NodeId filter = reader_.node();
  StageDetachIo(change);
  change.RemoveFilter(filter);
  absl::StatusOr<NodeView> overlay = change.Resolve(overlay_);
  if (!overlay.ok() || !overlay->Backing()) return;  // nothing below: nothing to cut
  // Derived here; nothing can suspend before it is applied.
  std::optional<NodeId> base = proofs().chain.Below(change);
  MILLRACE_MUTANT(kR01b) {
    const NodeId above_base = MutantNote<NodeId>(overlay_.slot);
    const absl::StatusOr<NodeView> above = change.Resolve(above_base);
    const std::optional<NodeView> below = above.ok() ? above->FilteredOrBacking() : std::nullopt;
    base = below ? below->id() : above_base;
  }
  MILLRACE_MUTANT(kR02) base = MutantNote<std::optional<NodeId>>(this);
  BackingReference header;
  if (base) {
    header = ReferenceTo(change, *base, options_.backing_filename, options_.masks_protocol);
  }
  MILLRACE_MUTANT(kR04a) return change.SetBacking(overlay_, base, std::nullopt);
  MILLRACE_MUTANT(kR04b) header = MutantNote<BackingReference>(overlay_.slot);  // of its start
  change.SetBacking(overlay_, base, std::move(header));
  // If nobody else holds the overlay any more, it must not go before its header is written. A job
  // that is kept for dismissal holds it anyway; and detaching another holder of its own would drain
  // the job itself, in the middle of a step.
  if (context().is_kept_for_dismissal()) return;
  AttachmentOptions keeper;
  keeper.holder = MakeHolder(holder()->id, StrCat(holder()->type, "'s overlay"), holder()->since);
  keeper.purpose = "backing header";
  keeper.queues_requests = false;
  keeper.stays_at_node = true;
  header_keeper_ = change.Attach(overlay_, std::move(keeper));
}

absl::Status StreamJob::CoFollowUp() {
  absl::Status status = BlockJob::CoFollowUp();
  MILLRACE_MUTANT(kM02) status.Update(MutantNote<absl::Status>(this));
  if (was_read_only_) status.Update(CoRestoreReadOnly(graph(), overlay_, holder()));
  header_keeper_.CoDetach();
  return status;
}

void StreamJob::CoAbort() {
  std::vector<Attachment*> attachments = IoAttachments();
  if (!context().is_kept_for_dismissal()) {
    for (Attachment& attachment : proofs().attachments) attachments.push_back(&attachment);
  }
  CoUndoSetUp(graph(), proofs(), reader_.node(), overlay_, attachments);
  if (was_read_only_) CoTryRestoreReadOnly(graph(), overlay_, holder());
}

absl::StatusOr<bool> StreamJob::StagePlannedEnd(GraphTransaction& change, JobEnd end,
                                                bool restores) {
  const NodeId filter = reader_.node();
  MILLRACE_ASSIGN_OR_RETURN(const bool keeps_claims,
                            BlockJob::StagePlannedEnd(change, end, restores));
  if (end == JobEnd::kDismissed) return keeps_claims;
  if (end == JobEnd::kUndone) change.RemoveFilter(filter);
  change.Detach(header_keeper_);
  if (was_read_only_ && restores) StageReadOnly(change, overlay_, true);
  return keeps_claims;
}

void StreamJob::DropPlannedEnd(JobEnd end) {
  if (end == JobEnd::kDone) header_keeper_ = Attachment();
  BlockJob::DropPlannedEnd(end);
}

}  // namespace millrace
