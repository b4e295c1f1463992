#include "millrace/jobs/copy_set_up.h"

#include <utility>

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/open_node.h"

namespace millrace {

absl::Status CoMakeTargetWritable(Graph& graph, const BlockJobProofs& proofs, NodeId target,
                                  CopySetUp* set_up) {
  set_up->target_was_read_only = IsReadOnly(graph, target);
  if (!set_up->target_was_read_only) return absl::OkStatus();
  return CoSetReadOnly(graph, target, false, proofs.holder);
}

absl::Status CoPutFilterAbove(Graph& graph, BlockJobProofs& proofs,
                              std::unique_ptr<FilterDriver> filter, const std::string& name,
                              NodeId top, AttachmentOptions edge, CopySetUp* set_up) {
  MILLRACE_ASSIGN_OR_RETURN(
      set_up->filter, CoAddFilterBeside(graph, std::move(filter), name, top, std::move(edge)));
  return CoPutFilterInPlace(graph, set_up->filter.node(), top, proofs.holder, &proofs.chain);
}

void HoldImagesBetween(GraphTransaction& change, const NodeView& above, const NodeView& below,
                       BlockJobProofs* proofs) {
  for (NodeId id : ChainFrom(above, below.id())) {
    if (id == below.id()) return;
    if (id == above.id()) continue;
    PermissionSet shared = kWriteUnchanged | kWrite;
    absl::StatusOr<NodeView> node = change.Resolve(id);
    if (node.ok() && SkipFilters(*node) == SkipFilters(below)) shared = shared | kConsistentRead;
    AttachmentOptions edge = JobEdge(*proofs, "intermediate node", {kNoPermissions, shared});
    const bool is_above = node.ok() && SkipFilters(*node) == SkipFilters(above);
    if (!is_above) edge.reserved = kNoOtherWriters;
    proofs->attachments.push_back(change.Attach(id, std::move(edge)));
  }
}

void CoTakeDown(Graph& graph, BlockJobProofs& proofs, CopySetUp& set_up, NodeId top,
                NodeId target) {
  std::vector<Attachment*> attachments = set_up.attachments();
  for (Attachment& attachment : proofs.attachments) attachments.push_back(&attachment);
  MILLRACE_MUTANT(kR56) {  // undone in the order in which it was done
    if (set_up.target_was_read_only) CoTryRestoreReadOnly(graph, target, proofs.holder);
    set_up.target_was_read_only = false;
  }
  CoUndoSetUp(graph, proofs, set_up.filter.node(), top, attachments);
  proofs.attachments.clear();
  MILLRACE_MUTANT(kR62) return;  // an abort forgets what it had reopened
  if (set_up.target_was_read_only) CoTryRestoreReadOnly(graph, target, proofs.holder);
}

}  // namespace millrace
