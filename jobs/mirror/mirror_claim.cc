// What a mirror checks and takes before its first suspension.
#include <algorithm>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/jobs/mirror/mirror_job.h"

namespace millrace {
namespace {

absl::Status RefuseMirror(ConflictReason reason, std::string_view object, std::string_view detail,
                          std::string_view text, std::string_view next_step) {
  return RefuseJob(absl::StatusCode::kInvalidArgument, reason, object, detail, text, next_step);
}

absl::Status CheckGranularity(const MirrorOptions& options, const NodeView& source) {
  if (options.granularity == 0) return absl::OkStatus();
  if (options.granularity < kMirrorGranularityMin || options.granularity > kMirrorGranularityMax) {
    return RefuseMirror(
        ConflictReason::kInvalidOption, source.name(), "granularity 512B-64MB",
        StrCat("cannot mirror '", source.name(), "' with a granularity of ", options.granularity),
        "choose one of at least 512 bytes and at most 64 MiB");
  }
  if (IsPowerOfTwo(options.granularity)) return absl::OkStatus();
  return RefuseMirror(
      ConflictReason::kInvalidOption, source.name(), "granularity power-of-two",
      StrCat("cannot mirror '", source.name(), "' with a granularity of ", options.granularity),
      "choose a power of two");
}

// The node that the target is to replace.
absl::StatusOr<NodeView> ReplacedNode(const GraphReader& view, const NodeView& source,
                                      const MirrorOptions& options) {
  if (options.replaces.empty()) return SkipImplicitFilters(source);
  MILLRACE_ASSIGN_OR_RETURN(const NodeView replaced, view.Find(options.replaces));
  MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(view, replaced.id(), Operation::kReplace));
  MILLRACE_RETURN_IF_ERROR(CheckMirrorMayReplace(source, replaced));
  if (replaced.bytes() == source.bytes()) return replaced;
  return RefuseMirror(ConflictReason::kSizeMismatch, replaced.name(), "replaces",
                      StrCat("cannot replace '", replaced.name(), "' with a mirror of '",
                             source.name(), "': they differ in size"),
                      "name a node of the same size");
}

absl::Status CheckTarget(const NodeView& source, const NodeView& target) {
  if (SkipFilters(source) == SkipFilters(target)) {
    return RefuseMirror(ConflictReason::kSameNode, source.name(), "mirror",
                        StrCat("cannot mirror '", source.name(), "' into itself"),
                        "name another node as target");
  }
  if (ChainContains(source, target) || !ChainContains(source, SkipFilters(target))) {
    return absl::OkStatus();
  }
  return RefuseMirror(ConflictReason::kIsFilter, target.name(), "mirror-target",
                      StrCat("cannot mirror '", source.name(), "' to '", target.name(),
                             "': it is a filter on top of an image in the source's own chain"),
                      "name that image as target");
}

// A target of new writes stands on the source in the end. Below a source that is a filter, in the
// place of an image that the filter stands on, it would stand on itself.
absl::Status CheckStandsOnSource(const NodeView& source, const NodeView& target,
                                 const NodeView& replaced, const MirrorOptions& options) {
  const bool stands_on_source =
      options.backing == MirrorBacking::kOfSource && options.sync == MirrorSync::kNone;
  if (!stands_on_source || replaced == source || !ChainContains(source, replaced)) {
    return absl::OkStatus();
  }
  return RefuseMirror(ConflictReason::kCycle, source.name(), StrCat(target.name(), " backing"),
                      StrCat("cannot put '", target.name(), "' on '", source.name(),
                             "' and in the place of '", replaced.name(), "' below it"),
                      "replace the source itself, or copy the top image or all of it");
}

uint64_t DefaultGranularity(const NodeView& target, bool is_whole) {
  // Where the target shows all that the source does, what a guest has not written need not be
  // copied with what it has, whatever a cluster's size: random small writes are caught up with.
  if (is_whole) return kMirrorGranularityWhole;
  constexpr uint64_t kMost = 64 * 1024;
  const uint64_t cluster = SkipFilters(target).cluster_bytes();
  return cluster <= 1 ? kMost : std::clamp(cluster, kMirrorGranularityWhole, kMost);
}

// The marks' granularity. Where only parts are copied to a target that has no backing yet, a piece
// of a cluster would make the rest of it zeroes, for good: whole clusters are copied then.
uint64_t GranularityFor(const MirrorOptions& options, const NodeView& target, bool is_whole) {
  const uint64_t granularity =
      options.granularity != 0 ? options.granularity : DefaultGranularity(target, is_whole);
  const NodeView image = SkipFilters(target);
  if (is_whole || image.Backing() || !image.supports_backing()) return granularity;
  return std::max(granularity, std::min(image.cluster_bytes(), kMirrorGranularityMax));
}

void DecideWhatToMark(const MirrorOptions& options, const NodeView& source, const NodeView& target,
                      MirrorProofs* proofs) {
  proofs->marks_allocated = options.sync != MirrorSync::kNone;
  if (ChainContains(source, target)) {
    // Whatever lies above the target, or the target would not show what the source does.
    proofs->is_target_below = true;
    proofs->lowest = FindOverlay(source, target)->id();
    proofs->marked_down_to = proofs->lowest;
    return;
  }
  const NodeView image = SkipFilters(source);
  if (options.sync == MirrorSync::kTop && image.Backing()) {
    proofs->marked_down_to = image.id();
  } else {
    proofs->is_whole = proofs->marks_allocated;
    proofs->zeroes_target = proofs->is_whole && !options.target_is_zero;
    // QEMU copies all of it to a target that does not unmap zeroes.
    proofs->counts_all = proofs->zeroes_target && options.sync == MirrorSync::kFull &&
                         target.io_options().ignores_discards;
  }
}

// The lease covers what is edited in the end: from the source down to what is replaced, and to a
// target below; the link from the filter is added when that is in place.
absl::StatusOr<FrozenChain> LeaseFor(const GraphView& view, const NodeView& source,
                                     const NodeView& replaced, const MirrorProofs& proofs) {
  NodeId last = source.id();
  if (ChainContains(source, replaced)) last = proofs.replaced;
  if (proofs.is_target_below) last = proofs.target;
  return FrozenChain::Freeze(view, source.id(), last, proofs.holder);
}

void ClaimNodes(Graph& graph, const NodeView& source, MirrorProofs* proofs) {
  proofs->ClaimAll(graph, proofs->source);
  proofs->ClaimAll(graph, proofs->target);
  if (!proofs->is_target_below) return;
  for (NodeId id : ChainFrom(source, proofs->target)) {
    if (id == proofs->target) break;
    if (id != proofs->source) proofs->ClaimAll(graph, id);
  }
}

}  // namespace

absl::Status CheckMirrorMayReplace(const NodeView& source, const NodeView& replaced) {
  // Through filters alone the two show the same.
  std::optional<NodeView> here(source);
  while (here) {
    if (*here == replaced) return absl::OkStatus();
    std::optional<NodeView> next = here->Filtered();
    here.reset();
    if (next) here.emplace(*next);
  }
  // One of several that are alike, if nobody else uses it.
  const NodeView image = SkipFilters(source);
  if (image.data_children_show_the_same() && replaced.IsShownOnlyBy(image)) return absl::OkStatus();
  return RefuseJob(absl::StatusCode::kFailedPrecondition, ConflictReason::kViewWouldChange,
                   replaced.name(), source.name(),
                   StrCat("cannot replace '", replaced.name(), "' by a mirror of '", source.name(),
                          "': what its users see might change abruptly"),
                   "replace the source itself, or a filter's node between the two");
}

namespace {

// All that is looked at, in the graph as `reader` shows it, and what the job is to do; takes
// nothing.
absl::StatusOr<MirrorProofs> Decide(Graph& graph, const GraphReader& reader,
                                    const MirrorOptions& options, std::string_view job_id) {
  MILLRACE_ASSIGN_OR_RETURN(const NodeView source, reader.Resolve(options.source));
  MILLRACE_ASSIGN_OR_RETURN(const NodeView target, reader.Resolve(options.target));
  MILLRACE_RETURN_IF_ERROR(CheckIsRoot(source, "mirror"));
  MILLRACE_RETURN_IF_ERROR(CheckGranularity(options, source));
  MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(reader, source.id(), Operation::kMirrorSource));
  MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(reader, target.id(), Operation::kMirrorTarget));
  MILLRACE_ASSIGN_OR_RETURN(const NodeView replaced, ReplacedNode(reader, source, options));
  if (options.buffer_bytes < 0) {
    return RefuseMirror(ConflictReason::kInvalidOption, source.name(), "buf-size non-negative",
                        StrCat("cannot mirror '", source.name(), "' with a buffer of ",
                               options.buffer_bytes, " bytes"),
                        "give a positive size, or 0 for the default");
  }
  MILLRACE_RETURN_IF_ERROR(CheckTarget(source, target));
  MILLRACE_RETURN_IF_ERROR(CheckStandsOnSource(source, target, replaced, options));

  MirrorProofs proofs;
  static_cast<BlockJobProofs&>(proofs) = BlockJobProofs::For(graph, job_id, "mirror");
  proofs.type = "mirror";
  proofs.source = source.id();
  proofs.target = target.id();
  proofs.replaced = replaced.id();
  DecideWhatToMark(options, source, target, &proofs);
  const bool is_whole = proofs.is_target_below || proofs.is_whole;
  proofs.granularity = GranularityFor(options, target, is_whole);
  proofs.target_cluster_bytes = SkipFilters(target).cluster_bytes();
  const uint64_t buffer =
      static_cast<uint64_t>(options.buffer_bytes == 0 ? kMirrorBufferBytes : options.buffer_bytes);
  proofs.buffer_bytes = AlignUp(std::min(buffer, kBytesMax / 2), proofs.granularity);
  return proofs;
}

// The lease on what `proofs` have decided on.
absl::Status Take(const GraphView& view, MirrorProofs* proofs) {
  MILLRACE_ASSIGN_OR_RETURN(const NodeView source, view.Resolve(proofs->source));
  MILLRACE_ASSIGN_OR_RETURN(const NodeView replaced, view.Resolve(proofs->replaced));
  MILLRACE_ASSIGN_OR_RETURN(proofs->chain, LeaseFor(view, source, replaced, *proofs));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MirrorProofs> ClaimForMirror(Graph& graph, const MirrorOptions& options,
                                            std::string_view job_id) {
  GraphView view(graph);
  MILLRACE_ASSIGN_OR_RETURN(MirrorProofs proofs, Decide(graph, view, options, job_id));
  MILLRACE_RETURN_IF_ERROR(Take(view, &proofs));
  MILLRACE_ASSIGN_OR_RETURN(const NodeView source, view.Resolve(proofs.source));
  ClaimNodes(graph, source, &proofs);
  return proofs;
}

namespace {

// What a transaction that is dropped again shows.
absl::StatusOr<MirrorProofs> DecideInto(Graph& graph, MirrorOptions options,
                                        std::string_view job_id,
                                        const StageMirrorTarget& stage_target) MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  options.target = stage_target(change);
  return Decide(graph, change, options, job_id);
}

}  // namespace

absl::StatusOr<MirrorProofs> ClaimForMirrorInto(Graph& graph, const MirrorOptions& options,
                                                std::string_view job_id,
                                                const StageMirrorTarget& stage_target) {
  MILLRACE_ASSIGN_OR_RETURN(MirrorProofs proofs, DecideInto(graph, options, job_id, stage_target));
  GraphView view(graph);
  MILLRACE_RETURN_IF_ERROR(Take(view, &proofs));
  proofs.ClaimAll(graph, proofs.source);
  return proofs;
}

absl::StatusOr<MirrorProofs> ProofsForActiveCommit(Graph& graph, BlockJobProofs taken,
                                                   NodeId lowest) {
  GraphView view(graph);
  MirrorProofs proofs;
  static_cast<BlockJobProofs&>(proofs) = std::move(taken);
  proofs.type = "commit";
  proofs.source = proofs.chain.top();
  proofs.target = proofs.chain.last();
  proofs.replaced = proofs.source;
  proofs.is_target_below = true;
  proofs.lowest = lowest;
  proofs.marked_down_to = lowest;
  MILLRACE_ASSIGN_OR_RETURN(const NodeView target, view.Resolve(proofs.target));
  proofs.granularity = DefaultGranularity(target, /*is_whole=*/true);
  proofs.target_cluster_bytes = SkipFilters(target).cluster_bytes();
  proofs.buffer_bytes = static_cast<uint64_t>(kMirrorBufferBytes);
  return proofs;
}

}  // namespace millrace
