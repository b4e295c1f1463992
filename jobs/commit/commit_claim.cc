// What a commit checks and takes before its first suspension.
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/jobs/commit/commit_job.h"

namespace millrace {
namespace {

absl::Status Refuse(ConflictReason reason, const NodeView& node, std::string_view text,
                    std::string_view next_step) {
  return RefuseJob(absl::StatusCode::kInvalidArgument, reason, node.name(), "",
                   StrCat("cannot commit '", node.name(), "': ", text), next_step);
}

// The base, checked against the top: the user's, or the lowest image there is.
absl::StatusOr<NodeView> BaseOf(const GraphReader& view, const NodeView& top,
                                const CommitOptions& options) {
  if (!options.base) {
    const std::optional<NodeView> lowest = FindOverlay(top, std::nullopt);
    return lowest ? *lowest : SkipFilters(top);
  }
  MILLRACE_ASSIGN_OR_RETURN(const NodeView base, view.Resolve(*options.base));
  if (!ChainContains(top, base)) {
    return Refuse(ConflictReason::kNotInChain, top,
                  StrCat("'", base.name(), "' is not in the backing chain below it"),
                  "name a base below the top");
  }
  return base;
}

// Said after who is busy, as in QEMU.
absl::Status CheckAreDifferent(const NodeView& top, const NodeView& base,
                               const CommitOptions& options, bool is_active) {
  if (!(SkipFilters(base) == SkipFilters(top))) return absl::OkStatus();
  if (!options.base && base == top) {
    return Refuse(ConflictReason::kNoBacking, top, "there is no image below it",
                  "choose an image with a backing file");
  }
  const std::string_view how = is_active ? "mirror" : "through-filters";
  return RefuseJob(absl::StatusCode::kInvalidArgument, ConflictReason::kSameNode, top.name(),
                   base == top ? "" : how, StrCat("cannot commit '", top.name(), "' into itself"),
                   "name a base below the top");
}

// Who stands on the top and will stand on the base: their headers will be rewritten. Said after
// what is wrong with the request itself, as in QEMU.
absl::Status CheckOverlays(const GraphReader& view, const NodeView& root, const NodeView& top) {
  const std::optional<NodeView> overlay = FindOverlay(root, top);
  if (!overlay) return absl::OkStatus();
  return OperationClaim::Check(view, overlay->id(), Operation::kCommitTarget);
}

// What the headers above are to say is not for the user to choose here, as in QEMU.
absl::Status CheckActive(const CommitOptions& options, const NodeView& top, bool has_writer) {
  if (options.backing_filename.empty()) return absl::OkStatus();
  return RefuseJob(absl::StatusCode::kInvalidArgument, ConflictReason::kMutuallyExclusive,
                   top.name(), has_writer ? "backing-file writer" : "backing-file active-layer",
                   StrCat("cannot commit '", top.name(), "' with a backing file name: ",
                          has_writer ? "a user writes to it" : "it is the active layer"),
                   "leave the backing file name out");
}

// Emptied, a top shows what is right below it: that must be the base, or what lies between would
// show through.
absl::Status CheckMayEmpty(const CommitOptions& options, const NodeView& top,
                           const NodeView& lowest, bool is_active) {
  if (!options.empties_top || (is_active && lowest == SkipFilters(top))) return absl::OkStatus();
  return RefuseJob(absl::StatusCode::kInvalidArgument, ConflictReason::kInvalidOption, top.name(),
                   "empties-top an-active-layer-right-above-the-base",
                   StrCat("cannot empty '", top.name(),
                          "': it is not the active layer, or not right above the base"),
                   "name the active layer and its backing");
}

absl::Status CheckClaims(const GraphReader& view, const NodeView& root, const NodeView& top,
                         const NodeView& base) {
  MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(view, root.id(), Operation::kCommitSource));
  for (NodeId id : ChainFrom(top, base.id())) {
    MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(view, id, Operation::kCommitTarget));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CommitProofs> ClaimForCommit(Graph& graph, const CommitOptions& options,
                                            std::string_view job_id) {
  MILLRACE_RETURN_IF_ERROR(CheckGiven(options.root, "CommitOptions::root"));
  MILLRACE_RETURN_IF_ERROR(CheckGiven(options.top, "CommitOptions::top"));
  GraphView view(graph);
  MILLRACE_ASSIGN_OR_RETURN(const NodeView root, view.Resolve(options.root));
  MILLRACE_ASSIGN_OR_RETURN(const NodeView top, view.Resolve(options.top));
  MILLRACE_RETURN_IF_ERROR(CheckIsRoot(root, "commit"));
  if (!ChainContains(root, top)) {
    return Refuse(ConflictReason::kNotInChain, top,
                  StrCat("it is not in the backing chain of '", root.name(), "'"),
                  "name a top below the device");
  }
  MILLRACE_ASSIGN_OR_RETURN(const NodeView base, BaseOf(view, top, options));
  MILLRACE_RETURN_IF_ERROR(CheckClaims(view, root, top, base));
  const bool has_writer = top.cumulative_permissions().used.Intersects(kWrite);
  const bool is_active = has_writer || SkipFilters(top) == SkipFilters(root);
  MILLRACE_RETURN_IF_ERROR(CheckAreDifferent(top, base, options, is_active));
  if (is_active) MILLRACE_RETURN_IF_ERROR(CheckActive(options, top, has_writer && !(top == root)));
  MILLRACE_RETURN_IF_ERROR(CheckOverlays(view, root, top));
  const std::optional<NodeView> lowest = FindOverlay(top, base);
  if (!lowest) {
    return Refuse(ConflictReason::kNotInChain, top,
                  StrCat("nothing lies between it and '", base.name(), "'"),
                  "name a base below the top");
  }

  MILLRACE_RETURN_IF_ERROR(CheckMayEmpty(options, top, *lowest, is_active));
  CommitProofs proofs;
  static_cast<BlockJobProofs&>(proofs) = BlockJobProofs::For(graph, job_id, "commit");
  proofs.top = top.id();
  proofs.base = base.id();
  proofs.lowest = lowest->id();
  proofs.is_active = is_active;
  MILLRACE_ASSIGN_OR_RETURN(proofs.chain,
                            FrozenChain::Freeze(view, top.id(), base.id(), proofs.holder));
  // The guest's writes to the root do not concern a commit of what lies below it, but QEMU claims
  // it all the same; an active commit claims the filter that it puts there.
  if (!is_active) proofs.ClaimAll(graph, root.id());
  for (NodeId id : ChainFrom(top, base.id())) proofs.ClaimAll(graph, id);
  return proofs;
}

}  // namespace millrace
