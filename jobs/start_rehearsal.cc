#include "millrace/jobs/start_rehearsal.h"

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/open_node.h"

namespace millrace {

absl::Status StartRehearsal::Then(Stage stage) {
  stages_.push_back(std::move(stage));
  proofs_.attachments.clear();  // of an earlier rehearsal
  GraphTransaction change(graph_);
  change.ToRehearse().OnBehalfOf(proofs_.holder);
  for (const Stage& each : stages_) MILLRACE_RETURN_IF_ERROR(each(change));
  return change.Rehearse();
}

absl::Status StartRehearsal::ThenMakeWritable(NodeId node) {
  if (!IsReadOnly(graph_, node)) return absl::OkStatus();
  return Then([node](GraphTransaction& change) {
    StageReadOnly(change, node, false);
    return absl::OkStatus();
  });
}

}  // namespace millrace
