// Overlays that take the place of nodes: blockdev-snapshot, blockdev-snapshot-sync, and both of
// them inside a transaction.
//
// First every overlay is opened and checked; then all take their places in one drained section and
// one edit of the graph, or none does. A new file that was made for an overlay stays when it is not
// needed, as in QEMU.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SNAPSHOT_COMMANDS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SNAPSHOT_COMMANDS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "examples/hypervisor/block/block_layer.h"
#include "millrace/graph/graph_transaction.h"

namespace millrace {

struct PreparedSnapshot {
  NodeId node;
  NodeId overlay;
  Attachment hold;  // of an overlay that was opened for this
};

// `reader` has the command's arguments; mistakes are its own.
absl::StatusOr<PreparedSnapshot> PrepareSnapshot(BlockLayer& layer, ArgumentReader& reader)
    MILLRACE_OPENS_VIEW;
absl::StatusOr<PreparedSnapshot> CoPrepareSnapshotSync(BlockLayer& layer, ArgumentReader& reader)
    MILLRACE_MAY_SUSPEND;

// Puts the overlay above the node, in its place.
void StageSnapshot(GraphTransaction& change, NodeId overlay, NodeId node);

absl::Status CoApplySnapshots(BlockLayer& layer, std::vector<PreparedSnapshot> snapshots)
    MILLRACE_MAY_SUSPEND;
void CoDropSnapshots(std::vector<PreparedSnapshot> snapshots) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SNAPSHOT_COMMANDS_H_
