// Overlays that take the place of nodes: blockdev-snapshot, blockdev-snapshot-sync, and both of
// them inside a transaction.
//
// First every overlay is opened and checked; then all take their places in one drained section and
// one edit of the graph, or none does. A new file that was made for an overlay stays when it is not
// needed, as in QEMU.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SNAPSHOT_COMMANDS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SNAPSHOT_COMMANDS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/qmp/command_plan.h"
#include "millrace/graph/graph_transaction.h"

namespace millrace {

struct PreparedSnapshot {
  NodeId node;
  NodeId overlay;  // in a plan none, if it is to be made
  std::string overlay_name;
  Attachment hold;  // of an overlay that was opened for this
};

// Of earlier actions of the same transaction. For later ones it is as if they were done: a drive
// has moved to the overlay, a node's name means what is below it now.
using EarlierSnapshots = std::vector<PreparedSnapshot>;

// What blockdev-snapshot-sync asks for.
struct SnapshotRequest {
  NodeId node;
  std::string planned_base;  // in a plan: the overlay above `node` that an earlier action makes
  bool is_on_new_overlay = false;  // `node` is one that an earlier action has made
  std::string filename;
  std::string node_name;  // of the overlay
  std::string format;
  bool creates = true;
  bool is_read_only = false;  // as the node is
  // Why no node can be called so. QEMU says it after it has made the image.
  absl::Status name_error{};
};

// In a plan: what an action asks for, and of what is to be made the request.
struct PlannedSnapshot {
  PreparedSnapshot prepared;
  std::optional<SnapshotRequest> request;
};

// `reader` has the command's arguments; mistakes are its own. All that can be refused before a file
// is looked at has been.
absl::StatusOr<SnapshotRequest> ReadSnapshotSync(BlockLayer& layer, ArgumentReader& reader,
                                                 const EarlierSnapshots& earlier = {})
    MILLRACE_OPENS_VIEW;
// Adds what would be done to the plan, or says why it could not.
absl::Status PlanSnapshotSync(BlockLayer& layer, const SnapshotRequest& request, CommandPlan* plan)
    MILLRACE_OPENS_VIEW;

// `reader` has the command's arguments; mistakes are its own.
absl::StatusOr<PreparedSnapshot> PrepareSnapshot(BlockLayer& layer, ArgumentReader& reader,
                                                 const EarlierSnapshots& earlier = {})
    MILLRACE_OPENS_VIEW;
absl::StatusOr<PreparedSnapshot> CoPrepareSnapshotSync(BlockLayer& layer, ArgumentReader& reader,
                                                       const EarlierSnapshots& earlier = {})
    MILLRACE_MAY_SUSPEND;

// Puts all overlays in their places, those included that are to be made, as CoApplySnapshots()
// does: its refusals, and those of opening; else the plan has the graph and what only opening
// tells.
PlanResult PlanApply(BlockLayer& layer, const std::vector<PlannedSnapshot>& snapshots,
                     CommandPlan plan) MILLRACE_OPENS_VIEW;

// Puts the overlay above the node, in its place.
void StageSnapshot(GraphTransaction& change, NodeId overlay, NodeId node);

absl::Status CoApplySnapshots(BlockLayer& layer, std::vector<PreparedSnapshot> snapshots)
    MILLRACE_MAY_SUSPEND;
void CoDropSnapshots(std::vector<PreparedSnapshot> snapshots) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SNAPSHOT_COMMANDS_H_
