// How a mirror job is made and how it ends; what it does between is in mirror_run.cc.
#include "millrace/jobs/mirror/mirror_job.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open_node.h"
#include "millrace/jobs/late_refusal.h"
#include "millrace/jobs/start_rehearsal.h"

namespace millrace {
namespace {

// Of a source that is emptied, in one call: whole tables of every format's clusters.
constexpr uint64_t kForgottenBytesMax = uint64_t{1} << 30;

Permissions WriterPermissions(const MirrorProofs& proofs, const NodeView& source,
                              const NodeView& target) {
  // A base grows if it is too small, and is read by the layers above it. Any other target is nobody
  // else's.
  if (proofs.is_target_below) {
    const PermissionSet grows = target.bytes() < source.bytes() ? kResize : kNoPermissions;
    return {kWrite | grows, kConsistentRead | kWriteUnchanged | kWrite};
  }
  return {kWrite, kWriteUnchanged};
}

// The job's edges to the source, to what lies between it and a target below, and to the target.
// Returns the last.
absl::StatusOr<Attachment> StageHolds(GraphTransaction& change, MirrorProofs& proofs) {
  auto hold = [&](NodeId id, std::string purpose, PermissionSet shared) {
    proofs.attachments.push_back(
        change.Attach(id, JobEdge(proofs, std::move(purpose), {kNoPermissions, shared})));
  };
  MILLRACE_ASSIGN_OR_RETURN(const NodeView source, change.Resolve(proofs.source));
  MILLRACE_ASSIGN_OR_RETURN(const NodeView target, change.Resolve(proofs.target));
  hold(proofs.source, "source", kConsistentRead | kWriteUnchanged | kWrite);
  if (proofs.replaced != proofs.source) hold(proofs.replaced, "replaced", kAllPermissions);
  if (proofs.is_target_below) HoldImagesBetween(change, source, target, &proofs);
  AttachmentOptions edge = JobEdge(proofs, "target", WriterPermissions(proofs, source, target));
  if (proofs.is_target_below) edge.reserved = kNoOtherWriters;
  return change.Attach(proofs.target, std::move(edge));
}

absl::StatusOr<Attachment> HoldSourceAndTarget(Graph& graph, MirrorProofs& proofs)
    MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  change.OnBehalfOf(proofs.holder);
  MILLRACE_ASSIGN_OR_RETURN(Attachment writer, StageHolds(change, proofs));
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return writer;
}

// The job's edge to its filter, by which it reads the source.
AttachmentOptions FilterEdge(const MirrorProofs& proofs, const MirrorOptions& options) {
  const PermissionSet empties = options.empties_source ? kWriteUnchanged : kNoPermissions;
  return JobEdge(proofs, "main node",
                 {kConsistentRead | empties, kConsistentRead | kWriteUnchanged | kWrite});
}

// The image that the node's own image has as its backing.
std::optional<NodeId> ImageBelow(const GraphReader& reader, NodeId id) {
  absl::StatusOr<NodeView> node = reader.Resolve(id);
  if (!node.ok()) return std::nullopt;
  const std::optional<NodeView> backing = SkipFilters(*node).Backing();
  if (!backing) return std::nullopt;
  return SkipFilters(*backing).id();
}

// Has the source's changes marked from now on, also those of what it shows, in case somebody writes
// there past it. What a commit's source stands on nobody else writes (kNoOtherWriters).
absl::StatusOr<std::shared_ptr<MirrorChanges>> TrackSource(Graph& graph, const MirrorProofs& proofs)
    MILLRACE_OPENS_VIEW {
  GraphView view(graph);
  MILLRACE_ASSIGN_OR_RETURN(const NodeView source, view.Resolve(proofs.source));
  auto changes = std::make_shared<MirrorChanges>(source.bytes(), proofs.granularity);
  using Depth = ContentListener::Depth;
  const Depth depth = proofs.is_target_below ? Depth::kImage : Depth::kChain;
  MILLRACE_RETURN_IF_ERROR(changes->Track(graph, proofs.source, depth));
  return changes;
}

MirrorOptions OptionsOfActiveCommit(const MirrorProofs& proofs, const BlockJobOptions& options,
                                    bool empties_source) {
  MirrorOptions mirror;
  mirror.job = options;
  mirror.source = proofs.source;
  mirror.target = proofs.target;
  mirror.on_source_error = options.on_error;
  mirror.on_target_error = options.on_error;
  mirror.empties_source = empties_source;
  return mirror;
}

absl::StatusOr<JobNumber> CoLaunch(Graph& graph, JobManager& manager, MirrorProofs proofs,
                                   MirrorOptions options) MILLRACE_MAY_SUSPEND {
  JobSpec spec = options.job.spec;
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<MirrorJob> job,
                            MirrorJob::CoCreate(graph, std::move(proofs), std::move(options)));
  return CoCreateAndStart(manager, std::move(spec), std::move(job));
}

}  // namespace

absl::StatusOr<MirrorProofs> ClaimForNewMirror(Graph& graph, const JobManager& manager,
                                               const MirrorOptions& options) {
  MILLRACE_RETURN_IF_ERROR(CheckGiven(options.source, "MirrorOptions::source"));
  MILLRACE_RETURN_IF_ERROR(CheckGiven(options.target, "MirrorOptions::target"));
  MILLRACE_RETURN_IF_ERROR(CheckFilterName(graph, options.job));
  MILLRACE_ASSIGN_OR_RETURN(const std::string id,
                            NewJobId(graph, manager, options.job, options.source));
  return ClaimForMirror(graph, options, id);
}

absl::StatusOr<MirrorProofs> ClaimForNewMirrorInto(Graph& graph, const JobManager& manager,
                                                   const MirrorOptions& options,
                                                   const StageMirrorTarget& stage_target) {
  MILLRACE_RETURN_IF_ERROR(CheckFilterName(graph, options.job));
  MILLRACE_ASSIGN_OR_RETURN(const std::string id,
                            NewJobId(graph, manager, options.job, options.source));
  return ClaimForMirrorInto(graph, options, id, stage_target);
}

absl::StatusOr<JobNumber> CoStartMirror(Graph& graph, JobManager& manager, MirrorOptions options) {
  MILLRACE_ASSIGN_OR_RETURN(MirrorProofs proofs, ClaimForNewMirror(graph, manager, options));
  if (!options.job.spec.is_internal) options.job.spec.id = proofs.holder->id;
  return CoLaunch(graph, manager, std::move(proofs), std::move(options));
}

absl::StatusOr<JobNumber> CoStartActiveCommit(Graph& graph, JobManager& manager,
                                              BlockJobProofs taken, NodeId lowest,
                                              const BlockJobOptions& options, bool empties_source) {
  MILLRACE_ASSIGN_OR_RETURN(MirrorProofs proofs,
                            ProofsForActiveCommit(graph, std::move(taken), lowest));
  MirrorOptions mirror = OptionsOfActiveCommit(proofs, options, empties_source);
  return CoLaunch(graph, manager, std::move(proofs), std::move(mirror));
}

absl::Status RehearseMirrorStart(Graph& graph, MirrorProofs proofs, const MirrorOptions& options,
                                 StageMirrorTarget stage_target) {
  const auto changes = std::make_shared<MirrorChanges>(0, proofs.granularity);  // of no job
  NodeId filter;
  Attachment reader;
  Attachment writer;
  StartRehearsal rehearsal(graph, proofs);
  if (stage_target != nullptr) {
    MILLRACE_RETURN_IF_ERROR(rehearsal.Then([&](GraphTransaction& change) {
      proofs.target = stage_target(change);
      return absl::OkStatus();
    }));
  }
  if (proofs.is_target_below) {
    MILLRACE_RETURN_IF_ERROR(rehearsal.ThenMakeWritable(proofs.target));
  }
  absl::Status status = rehearsal.Then([&](GraphTransaction& change) {
    filter = StageFilterBeside(change, MakeMirrorFilter(changes, proofs.is_target_below),
                               options.job.filter_name, proofs.source, FilterEdge(proofs, options),
                               &reader);
    return absl::OkStatus();
  });
  if (status.ok()) {
    status = rehearsal.Then([&](GraphTransaction& change) {
      StageFilterInPlace(change, filter, proofs.source, &proofs.chain);
      return absl::OkStatus();
    });
  }
  if (!status.ok()) return AsLateIfOfPermissions(std::move(status), proofs);
  status = rehearsal.Then([&](GraphTransaction& change) -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(writer, StageHolds(change, proofs));
    return absl::OkStatus();
  });
  return AsLateRefusal(std::move(status), proofs);
}

absl::Status RehearseActiveCommitStart(Graph& graph, BlockJobProofs taken, NodeId lowest,
                                       const BlockJobOptions& options, bool empties_source) {
  MILLRACE_ASSIGN_OR_RETURN(MirrorProofs proofs,
                            ProofsForActiveCommit(graph, std::move(taken), lowest));
  const MirrorOptions mirror = OptionsOfActiveCommit(proofs, options, empties_source);
  return RehearseMirrorStart(graph, std::move(proofs), mirror);
}

// ---- Set-up ------------------------------------------------------------------------------------

absl::Status MirrorJob::CoSetUpNodes(Graph& graph, MirrorProofs& proofs,
                                     const MirrorOptions& options, SetUp* set_up) {
  if (proofs.is_target_below) {
    MILLRACE_RETURN_IF_ERROR(CoMakeTargetWritable(graph, proofs, proofs.target, set_up));
  }
  MILLRACE_ASSIGN_OR_RETURN(set_up->changes, TrackSource(graph, proofs));
  absl::Status status =
      CoPutFilterAbove(graph, proofs, MakeMirrorFilter(set_up->changes, proofs.is_target_below),
                       options.job.filter_name, proofs.source, FilterEdge(proofs, options), set_up);
  if (!status.ok()) return AsLateIfOfPermissions(std::move(status), proofs);
  absl::StatusOr<Attachment> writer = HoldSourceAndTarget(graph, proofs);
  if (!writer.ok()) return AsLateRefusal(writer.status(), proofs);
  set_up->writer = *std::move(writer);
  proofs.ClaimAll(graph, set_up->filter.node());
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<MirrorJob>> MirrorJob::CoCreate(Graph& graph, MirrorProofs proofs,
                                                               MirrorOptions options) {
  SetUp set_up;
  absl::Status status = CoSetUpNodes(graph, proofs, options, &set_up);
  if (!status.ok()) {
    CoTakeDown(graph, proofs, set_up, proofs.source, proofs.target);
    return status;
  }
  const bool source_is_read_only = IsReadOnly(graph, proofs.source);
  std::unique_ptr<MirrorJob> job(
      new MirrorJob(graph, std::move(proofs), std::move(set_up), std::move(options)));
  job->source_was_read_only_ = source_is_read_only;
  return job;
}

MirrorJob::MirrorJob(Graph& graph, MirrorProofs mirror_proofs, SetUp set_up, MirrorOptions options)
    : BlockJob(graph, std::move(static_cast<BlockJobProofs&>(mirror_proofs))),
      options_(std::move(options)),
      type_(mirror_proofs.type),
      source_(mirror_proofs.source),
      target_(mirror_proofs.target),
      replaced_(mirror_proofs.replaced),
      is_target_below_(mirror_proofs.is_target_below),
      marks_allocated_(mirror_proofs.marks_allocated),
      marked_down_to_(mirror_proofs.marked_down_to),
      zeroes_target_(mirror_proofs.zeroes_target),
      counts_all_(mirror_proofs.counts_all),
      buffer_bytes_(mirror_proofs.buffer_bytes),
      set_up_(std::move(set_up)),
      copier_(graph, set_up_.changes->bitmap(), set_up_.filter, set_up_.writer,
              {.buffer_bytes = mirror_proofs.buffer_bytes,
               .unmap = options_.unmap,
               .tuning = options_.job.copy,
               .target_cluster_bytes = mirror_proofs.target_cluster_bytes,
               .lowest = mirror_proofs.lowest}),
      copy_mode_(options_.copy_mode) {}

MirrorJob::~MirrorJob() { set_up_.changes->Stop(); }

std::vector<Attachment*> MirrorJob::IoAttachments() { return set_up_.attachments(); }

absl::Status MirrorJob::OnCreated() {
  MILLRACE_RETURN_IF_ERROR(BlockJob::OnCreated());
  set_up_.changes->SetOnMark([this] {
    if (is_idle_) context().Kick();
  });
  return absl::OkStatus();
}

// ---- Verbs -------------------------------------------------------------------------------------

// Refused, it stays ready, and all that it has copied is of use.
absl::Status MirrorJob::CheckComplete() const { return CheckLengths(); }

void MirrorJob::OnComplete() {
  const bool names_replaced = !options_.replaces.empty() || replaced_ != source_;
  if (!is_completing_ && names_replaced) proofs().ClaimAll(graph(), replaced_, "replaced");
  is_completing_ = true;
}

absl::Status MirrorJob::CheckChange(const JobChange& change) const {
  const auto* const wanted = dynamic_cast<const MirrorChange*>(&change);
  if (wanted == nullptr || is_target_below_) return BlockJob::CheckChange(change);
  if (wanted->copy_mode == copy_mode_ || wanted->copy_mode == MirrorCopyMode::kWriteBlocking) {
    return absl::OkStatus();
  }
  return RefuseJob(absl::StatusCode::kFailedPrecondition, ConflictReason::kChangeUnsupported,
                   context().id(), "background",
                   StrCat("cannot change job '", context().id(),
                          "': a mirror does not go back to copying in the background"),
                   "cancel it and create it anew");
}

void MirrorJob::OnChange(const JobChange& change) {
  const MirrorCopyMode wanted = static_cast<const MirrorChange&>(change).copy_mode;
  if (wanted == copy_mode_) return;
  copy_mode_ = wanted;
  if (is_copying_) PaceGuests(context());
  if (is_idle_) context().Kick();  // it may be synced already
}

void MirrorJob::Describe(JobInfo& info) const {
  copier_.Describe(info);
  if (!is_target_below_) info.figures.push_back({"actively-synced", is_actively_synced_ ? 1u : 0u});
}

bool MirrorJob::OnCancel(bool force) { return force || !context().is_ready(); }

// ---- The end -----------------------------------------------------------------------------------

// What may have changed in a way that nobody's lease or permission keeps from happening.
absl::Status MirrorJob::CheckMayEnd(const GraphReader& reader, bool takes_over) const {
  MILLRACE_RETURN_IF_ERROR(CheckLengths());
  if (!takes_over || replaced_ == source_) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(const NodeView source, reader.Resolve(source_));
  MILLRACE_ASSIGN_OR_RETURN(const NodeView replaced, reader.Resolve(replaced_));
  return CheckMirrorMayReplace(source, replaced);
}

absl::Status MirrorJob::CheckMayEndNow() {
  GraphView view(graph());
  return CheckMayEnd(view, is_completing_);
}

absl::Status MirrorJob::CoPrepare() {
  MILLRACE_RETURN_IF_ERROR(CheckMayEndNow());
  MILLRACE_MUTANT(kR12) {  // its part is done, so it gives its permissions back
    GraphTransaction change(graph());
    change.OnBehalfOf(holder());
    change.SetPermissions(set_up_.writer, {});
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  }
  // What was written while others were waited for is copied and flushed while the guest goes on.
  // What it writes meanwhile is for another pass or, when that is little or passes do not leave
  // half as much, for the section.
  for (uint64_t bytes = dirty().dirty_bytes();;) {
    MILLRACE_RETURN_IF_ERROR(CoCopyPass(bytes));
    const uint64_t left = dirty().dirty_bytes();
    if (left <= LittleBytes() || left > bytes / 2) return absl::OkStatus();
    bytes = left;
  }
}

// Who drains meanwhile waits for a part of it at most, or for its flush.
absl::Status MirrorJob::CoCopyPass(uint64_t bytes) {
  const uint64_t part = std::min(buffer_bytes_, static_cast<uint64_t>(kMirrorBufferBytes));
  while (bytes > 0) {
    MILLRACE_ASSIGN_OR_RETURN(const uint64_t started, CoCopyRest(std::min(bytes, part)));
    if (started == 0) break;
    bytes -= std::min(bytes, started);
    context().quiescable().EnterQuietWait();
    context().quiescable().CoLeaveQuietWait();
  }
  return copier_.needs_flush() ? copier_.CoFlush() : absl::OkStatus();
}

// Of what lies below the source, what somebody may change: whoever writes there must be at rest as
// well. What comes there by way of a node at rest, as the source's own writes to its file, is at
// rest with that. What is only read there goes on; it may be the base of many disks.
std::vector<NodeId> MirrorJob::NodesToDrain(const GraphReader& reader) const {
  std::vector<NodeId> nodes = {set_up_.filter.node(), source_, target_, replaced_};
  const std::vector<NodeId> way_down = set_up_.changes->tracked();
  bool is_above_at_rest = true;  // who only reads a node may have it write what is below
  for (size_t i = 1; i < way_down.size(); ++i) {
    const absl::StatusOr<NodeView> node = reader.Resolve(way_down[i]);
    if (!node.ok()) continue;
    const NodeId above = is_above_at_rest ? way_down[i - 1] : NodeId();
    const bool is_changed = node->is_used_besides(above, kWrite | kResize);
    if (is_changed) nodes.push_back(way_down[i]);
    const bool is_shared = node->is_used_besides(way_down[i - 1], kAllPermissions);
    is_above_at_rest = is_changed || (is_above_at_rest && !is_shared);
  }
  return nodes;
}

// Race R10: the guest is at rest from before the last look at the marks until it is on the target.
absl::Status MirrorJob::CoCatchUp() {
  MILLRACE_RETURN_IF_ERROR(CheckMayEndNow());
  MILLRACE_MUTANT(kR10) return absl::OkStatus();  // the marks were clean before the drain
  // What is marked meanwhile, by somebody who has come below the source, is for another call.
  MILLRACE_RETURN_IF_ERROR(CoCopyRest(dirty().dirty_bytes()).status());
  if (copier_.needs_flush()) MILLRACE_RETURN_IF_ERROR(copier_.CoFlush());
  const bool may_empty = options_.empties_source && dirty().is_clean() && !copier_.needs_flush();
  return may_empty && !is_emptied_ ? CoEmptySource() : absl::OkStatus();
}

// Guests are at rest, and what the source holds is durable in the target: wherever this ends, the
// same is shown.
absl::Status MirrorJob::CoEmptySource() {
  const uint64_t end = set_up_.filter.bytes();
  for (uint64_t offset = 0; offset < end; offset += kForgottenBytesMax) {
    const ByteRange part(offset, std::min(end - offset, kForgottenBytesMax));
    const absl::Status status = set_up_.filter.CoForget(part);
    if (absl::IsUnimplemented(status)) break;  // it is equal to the target, then
    MILLRACE_RETURN_IF_ERROR(status);
  }
  is_emptied_ = true;
  return set_up_.filter.CoFlush();
}

bool MirrorJob::IsCaughtUp(const GraphReader& reader) {
  MILLRACE_MUTANT(kR10) return true;
  if (options_.empties_source && !is_emptied_) return false;
  return dirty().is_clean() && !copier_.needs_flush() && CheckMayEnd(reader, is_completing_).ok();
}

// While other members prepared, or the section was waited for, much may have been marked.
bool MirrorJob::PutsOffTheEdit() {
  const uint64_t left = dirty().dirty_bytes();
  if (left <= kMuchAtTheEnd || left > put_off_bytes_ / 2) return false;
  put_off_bytes_ = left;
  return true;
}

absl::StatusOr<uint64_t> MirrorJob::CoCopyRest(uint64_t bytes) {
  context().SetRemaining(dirty().dirty_bytes());
  TaskScope scope("mirror/rest");
  MirrorPiece failed;
  const auto on_done = [&](const MirrorPiece& piece) {
    if (piece.status.ok()) {
      context().Advance(piece.range.bytes);
    } else if (failed.status.ok()) {
      failed = piece;
    }
  };
  uint64_t started = 0;
  while (started < bytes && failed.status.ok()) {
    const size_t in_flight = copier_.pieces_in_flight();
    const uint64_t room = copier_.RoomAtTheEnd();
    const uint64_t most = AlignUp(std::min(room, bytes - started), dirty().granularity());
    const std::optional<ByteRange> area = room > 0 ? copier_.NextFree(0, most) : std::nullopt;
    if (area) {
      uint64_t ignored;
      is_emptied_ = false;  // somebody has written there again
      const MirrorPiece piece = copier_.CoStart(*area, 0, scope, on_done, &ignored);
      started += piece.range.bytes;
    } else if (in_flight > 0) {
      copier_.CoWaitForOne();
    } else {
      break;
    }
  }
  copier_.CoWaitForAll();
  scope.CoJoin().IgnoreError();  // for want of a stack pieces are done without one
  if (failed.status.ok()) return started;
  context().HandleError(OnError::kReport, failed.failed_operation, failed.status);
  return failed.status;
}

void StageMirrorTakeover(GraphTransaction& change, const MirrorOptions& options, NodeId replaced) {
  const std::optional<NodeId> below_source = ImageBelow(change, options.source);
  const std::vector<NodeId> overlays = OverlaysOn(change, replaced);
  change.ReplaceNode(replaced, options.target);
  const BackingReference header = ReferenceTo(change, options.target, "");
  for (NodeId overlay : overlays) change.SetHeader(overlay, header);
  if (options.backing != MirrorBacking::kOfSource) return;
  // Whoever stood on the source stands on the target by now; the new edge stays.
  if (options.sync == MirrorSync::kNone) {
    change.SetBacking(options.target, options.source, std::nullopt);
  } else if (options.sync == MirrorSync::kTop && below_source) {
    change.SetBacking(options.target, *below_source, std::nullopt);
  }
}

void MirrorJob::StageGraphEdit(GraphTransaction& change) { StageOwnEnd(change, is_completing_); }

void MirrorJob::StageOwnEnd(GraphTransaction& change, bool takes_over) {
  const NodeId filter = set_up_.filter.node();
  StageDetachAll(change);
  if (takes_over) StageMirrorTakeover(change, options_, replaced_);
  change.RemoveFilter(filter);
}

// The target is to its new users what the source was; if it stays where it is, what it was before.
bool MirrorJob::BecomesReadOnly(bool takes_over) const {
  return takes_over ? source_was_read_only_ : set_up_.target_was_read_only;
}

absl::Status MirrorJob::CoFollowUp() {
  set_up_.changes->Stop();
  absl::Status status = BlockJob::CoFollowUp();
  if (BecomesReadOnly(is_completing_)) {
    status.Update(CoRestoreReadOnly(graph(), target_, holder()));
  }
  proofs().claims.clear();  // also of a job that waits to be dismissed, as in QEMU
  return status;
}

void MirrorJob::CoAbort() {
  set_up_.changes->Stop();
  CoTakeDown(graph(), proofs(), set_up_, source_, target_);
  proofs().claims.clear();
}

absl::StatusOr<bool> MirrorJob::StagePlannedEnd(GraphTransaction& change, JobEnd end,
                                                bool restores) {
  if (end == JobEnd::kDismissed) return BlockJob::StagePlannedEnd(change, end, restores);
  const bool takes_over = end == JobEnd::kCompleted || (end == JobEnd::kDone && is_completing_);
  if (end != JobEnd::kUndone) MILLRACE_RETURN_IF_ERROR(CheckMayEnd(change, takes_over));
  change.Show(proofs().chain);
  StageOwnEnd(change, takes_over);
  if (BecomesReadOnly(takes_over) && restores) StageReadOnly(change, target_, true);
  return false;
}

}  // namespace millrace
