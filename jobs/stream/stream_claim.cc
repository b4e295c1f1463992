// What a stream checks and takes before its first suspension.
#include <utility>

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/jobs/stream/stream_job.h"

namespace millrace {
namespace {

// The ends of a stream's territory.
struct StreamRange {
  NodeId overlay;    // the image that is filled
  NodeId bottom;     // lowest image copied from (QEMU: base_overlay)
  NodeId lease_end;  // lowest node leased: bottom, or the lowest filter above base (above_base)
};

absl::Status NotInChain(const NodeView& top, std::string_view node, ConflictReason reason) {
  return RefuseJob(absl::StatusCode::kInvalidArgument, reason, node, top.name(),
                   StrCat("cannot stream into '", top.name(), "': node '", node,
                          reason == ConflictReason::kNotBacking ? "' is not a backing image of it"
                                                                : "' is not in the chain below it"),
                   "name a node of its backing chain");
}

absl::StatusOr<StreamRange> RangeToBottom(const NodeView& top, const NodeView& bottom) {
  if (bottom.is_filter()) {
    return RefuseJob(absl::StatusCode::kInvalidArgument, ConflictReason::kIsFilter, bottom.name(),
                     "bottom",
                     StrCat("cannot stream down to '", bottom.name(), "': it is a filter"),
                     "name an image as bottom");
  }
  if (!ChainContains(top, bottom)) {
    return NotInChain(top, bottom.name(), ConflictReason::kNotInChain);
  }
  return StreamRange{SkipFilters(top).id(), bottom.id(), bottom.id()};
}

absl::StatusOr<StreamRange> RangeToBase(const NodeView& top, const NodeView& base) {
  if (!ChainContains(top, base)) {
    return NotInChain(top, base.name(), ConflictReason::kNotBacking);
  }
  const std::optional<NodeView> overlay = FindOverlay(top, base);
  if (!overlay) return NotInChain(top, base.name(), ConflictReason::kNotInChain);
  const std::optional<NodeView> above = FindDirectlyAbove(*overlay, base);
  if (!above) return NotInChain(top, base.name(), ConflictReason::kNotInChain);
  return StreamRange{SkipFilters(top).id(), overlay->id(), above->id()};
}

absl::StatusOr<StreamRange> RangeOf(const GraphReader& view, const NodeView& top,
                                    const StreamOptions& options) {
  if (options.bottom) {
    MILLRACE_ASSIGN_OR_RETURN(const NodeView bottom, view.Resolve(*options.bottom));
    return RangeToBottom(top, bottom);
  }
  if (options.base) {
    MILLRACE_ASSIGN_OR_RETURN(const NodeView base, view.Resolve(*options.base));
    return RangeToBase(top, base);
  }
  // Everything: the bottom-most image, and whatever filters lie below it (none can).
  const std::optional<NodeView> lowest = FindOverlay(top, std::nullopt);
  if (!lowest) return NotInChain(top, top.name(), ConflictReason::kNotInChain);
  return StreamRange{SkipFilters(top).id(), lowest->id(), lowest->id()};
}

absl::Status BaseIsTop(const NodeView& top) {
  return RefuseJob(absl::StatusCode::kInvalidArgument, ConflictReason::kSameNode, top.name(),
                   StrCat("stream ", top.name()),
                   StrCat("cannot stream into '", top.name(), "': its base is the image itself"),
                   "name a base below it, or none to stream everything");
}

// What is asked for must be below the top, before anything is said about who is busy.
absl::Status CheckBase(const GraphReader& view, const NodeView& top, const StreamOptions& options) {
  if (options.bottom) return RangeOf(view, top, options).status();
  if (!options.base) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(const NodeView base, view.Resolve(*options.base));
  if (base == top) return BaseIsTop(top);
  if (ChainContains(top, base)) return absl::OkStatus();
  return NotInChain(top, base.name(), ConflictReason::kNotBacking);
}

absl::Status CheckOptions(const StreamOptions& options, const NodeView& top) {
  if (options.base && options.bottom) {
    return RefuseJob(absl::StatusCode::kInvalidArgument, ConflictReason::kMutuallyExclusive,
                     top.name(), "base bottom", "'base' and 'bottom' exclude each other",
                     "give one of them");
  }
  if (!options.backing_filename.empty() && !options.base) {
    return RefuseJob(absl::StatusCode::kInvalidArgument, ConflictReason::kMutuallyExclusive,
                     top.name(), "backing-file base",
                     "a backing file name makes no sense when the entire chain is streamed",
                     "give a base as well, or no backing file");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<StreamProofs> ClaimForStream(Graph& graph, const StreamOptions& options,
                                            std::string_view job_id) {
  GraphView view(graph);
  MILLRACE_ASSIGN_OR_RETURN(const NodeView top, view.Resolve(options.top));
  MILLRACE_RETURN_IF_ERROR(CheckBase(view, top, options));
  std::vector<NodeId> owned;
  const NodeId last = options.base.value_or(options.bottom.value_or(NodeId()));
  for (NodeId id : ChainFrom(top, last)) {
    if (id == options.base) break;
    // From the top down, so that the first busy node is the one that is named.
    MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(view, id, Operation::kStream));
    owned.push_back(id);
  }
  MILLRACE_ASSIGN_OR_RETURN(StreamRange range, RangeOf(view, top, options));
  MILLRACE_MUTANT(kR01b) {
    MutantNote<NodeId>(range.overlay.slot) = range.lease_end;  // above_base: kept, not leased
    range.lease_end = range.bottom;
  }
  MILLRACE_MUTANT(kR01c) range.lease_end = range.bottom;
  MILLRACE_RETURN_IF_ERROR(CheckOptions(options, top));

  StreamProofs proofs;
  static_cast<BlockJobProofs&>(proofs) = BlockJobProofs::For(graph, job_id, "stream");
  proofs.overlay = range.overlay;
  proofs.bottom = range.bottom;
  MILLRACE_ASSIGN_OR_RETURN(proofs.chain,
                            FrozenChain::Freeze(view, options.top, range.lease_end, proofs.holder));
  for (NodeId id : owned) proofs.ClaimAll(graph, id);
  return proofs;
}

}  // namespace millrace
