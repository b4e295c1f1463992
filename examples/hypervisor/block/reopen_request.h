// blockdev-reopen: what a client wants of nodes that are open, compared with how they are.
//
// Reads the whole list first, then tells what is to change, or in QEMU's words what cannot. Nothing
// suspends.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_REOPEN_REQUEST_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_REOPEN_REQUEST_H_

#include <vector>

#include "absl/status/statusor.h"
#include "examples/hypervisor/block/block_layer.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/node_tree.h"
#include "millrace/graph/reopen_nodes.h"

namespace millrace {

// `options` is the command's array of BlockdevOptions.
absl::StatusOr<std::vector<NodeChange>> ReadReopenRequest(BlockLayer& layer,
                                                          const json::array& options)
    MILLRACE_OPENS_VIEW;

// What the driver's own options of `tree`, all that are to hold from now on, change at an open
// node: in `change`, its driver and what was told. Refused: what cannot be changed.
absl::Status ReadDriverOptions(const BlockLayer& layer, const NodeTree& tree, const NodeView& node,
                               NodeChange* change);

// Refused for drivers whose nodes QEMU never opens anew, jobs' filters among them.
absl::Status CheckDriverReopens(const NodeView& node);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_REOPEN_REQUEST_H_
