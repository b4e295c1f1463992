// What QEMU checks of a node before it lets a user work on it, besides the library's own claims.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_NODE_CHECKS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_NODE_CHECKS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "examples/hypervisor/block/block_layer.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/operation_claim.h"

namespace millrace {

// "Node 'x' is busy: node is used as backing hd of 'y'". Such a node may be streamed and committed
// into, and little else.
absl::Status CheckIsNoBacking(const NodeView& node);

// Neither a job's claim nor an overlay stands in the way of the operation; of both, what came last
// is told.
absl::Status CheckIsFree(const NodeView& node, Operation operation);

// Whether the drive's medium, if it has one, may be taken from it: a job that works on it has
// claimed `operation`, and an overlay stands on it.
absl::Status CheckMayLeaveDrive(BlockLayer& layer, const Drive& drive, Operation operation)
    MILLRACE_OPENS_VIEW;

// What blockdev-del is refused for.
absl::Status CheckMayDelete(BlockLayer& layer, const std::string& name) MILLRACE_OPENS_VIEW;

// "offset(9223372036854775807) exceeds maximum(9223372035781033984)": no disk is made larger.
absl::Status CheckSizeMax(uint64_t bytes);

// How much of its disk one L2 table of a qcow2 image tells of.
uint64_t BytesOfL2Table(const NodeView& image);

// "Need a root block node": neither nodes nor jobs stand on it.
absl::Status CheckIsRootForJobs(const NodeView& node);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_NODE_CHECKS_H_
