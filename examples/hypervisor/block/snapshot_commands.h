// Overlays that take the place of nodes: blockdev-snapshot, blockdev-snapshot-sync, and both of
// them inside a transaction.
//
// First every overlay is opened and checked; then all take their places in one drained section and
// one edit of the graph, or none does. A new file that was made for an overlay stays when it is not
// needed, as in QEMU. Plans (block/snapshot_plans.h) ask the same questions in the same order.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SNAPSHOT_COMMANDS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SNAPSHOT_COMMANDS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/hypervisor/block/block_layer.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/node_id.h"
#include "millrace/graph/node_tree.h"

namespace millrace {

struct PreparedSnapshot {
  NodeId node;
  NodeId overlay;
  std::string overlay_name;
  Attachment hold;  // of an overlay that was opened for this
};

// Of earlier actions of the same transaction. For later ones it is as if they were done: a drive
// has moved to the overlay, a node's name means what is below it now.
using EarlierSnapshots = std::vector<PreparedSnapshot>;

// What blockdev-snapshot-sync asks for.
struct SnapshotRequest {
  NodeId node;
  bool is_on_new_overlay = false;  // `node` is one that an earlier action has made
  std::string filename;
  std::string node_name;  // of the overlay
  std::string format;
  bool creates = true;
  bool is_read_only = false;  // as the node is
  // Why no node can be called so. QEMU says it after it has made the image.
  absl::Status name_error{};
};

// Empty if the node is gone.
std::string NodeNameAt(const GraphReader& at, NodeId node);

// ---- Questions ---------------------------------------------------------------------------------
// `at` is the graph as it is, or as a plan has it; `reader` has the command's arguments, mistakes
// are its own.

// All that can be refused before a file is looked at has been.
absl::StatusOr<SnapshotRequest> ReadSnapshotSync(BlockLayer& layer, const GraphReader& at,
                                                 ArgumentReader& reader,
                                                 const EarlierSnapshots& earlier = {});
absl::StatusOr<PreparedSnapshot> PrepareSnapshot(BlockLayer& layer, const GraphReader& at,
                                                 ArgumentReader& reader,
                                                 const EarlierSnapshots& earlier = {});
// Of the graph as it is.
absl::StatusOr<PreparedSnapshot> PrepareSnapshotNow(BlockLayer& layer, ArgumentReader& reader,
                                                    const EarlierSnapshots& earlier = {})
    MILLRACE_OPENS_VIEW;
// Not OK: why no image is looked at for it.
absl::Status CheckNameOfOverlay(const SnapshotRequest& request);
absl::StatusOr<CreateImageOptions> OverlayImage(const GraphReader& at,
                                                const SnapshotRequest& request);
NodeTree OverlayTree(const SnapshotRequest& request);
// Of an overlay that has just been opened: what it cannot be used for.
absl::Status CheckNewOverlay(BlockLayer& layer, const GraphReader& at,
                             const SnapshotRequest& request, NodeId overlay);
// Whether what an overlay is put above becomes read-only. QEMU does not reopen quorums.
bool BecomesReadOnly(const NodeView& node);

// ---- The edit ----------------------------------------------------------------------------------
absl::StatusOr<PreparedSnapshot> CoPrepareSnapshotSync(BlockLayer& layer, ArgumentReader& reader,
                                                       const EarlierSnapshots& earlier = {})
    MILLRACE_MAY_SUSPEND;

// Puts the overlay above the node, in its place.
void StageSnapshot(GraphTransaction& change, NodeId overlay, NodeId node);

absl::Status CoApplySnapshots(BlockLayer& layer, std::vector<PreparedSnapshot> snapshots)
    MILLRACE_MAY_SUSPEND;
void CoDropSnapshots(std::vector<PreparedSnapshot> snapshots) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SNAPSHOT_COMMANDS_H_
