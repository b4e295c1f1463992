// The generic path: every operation on every node. Internal; not installed.
//
// A format answers where a range lives and makes room; this is the one place that turns its answers
// into reads and writes of its children. Each function holds an InFlightRequest on the node it
// works on for as long as it runs, so that the node's children stay as they are.
#ifndef MILLRACE_GRAPH_IO_NODE_IO_H_
#define MILLRACE_GRAPH_IO_NODE_IO_H_

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/node.h"

namespace millrace {

// FailedPrecondition (kNodeNotOpen) for a node that was added and not opened yet. Reads,
// writes and questions below ask it first.
absl::Status NotOpenError(const Node& node);
inline absl::Status CheckOpen(const Node& node) {
  return __builtin_expect(node.is_open, 1) ? absl::OkStatus() : NotOpenError(node);
}

// For handlers of exceptions: ends the program with one line that names the node, its driver and
// what was thrown. Before that the driver's own frames are unwound, and nobody else's.
[[noreturn]] void DriverThrew(const Node& node);

// `offset` and length lie inside the node (the caller checked).
absl::Status CoReadNode(Node& node, uint64_t offset, const IoVector& target) MILLRACE_MAY_SUSPEND;
absl::Status CoWriteNode(Node& node, uint64_t offset, const IoVector& source, WriteFlags flags)
    MILLRACE_MAY_SUSPEND;
absl::Status CoWriteZeroesNode(Node& node, ByteRange range, ZeroFlags flags) MILLRACE_MAY_SUSPEND;
absl::Status CoDiscardNode(Node& node, ByteRange range) MILLRACE_MAY_SUSPEND;
// Has the image at or right below the node, filters skipped, say nothing of the range any more.
// What is shown must stay the same (the caller's affair): nobody is told of a change.
absl::Status CoForgetNode(Node& node, ByteRange range) MILLRACE_MAY_SUSPEND;
absl::Status CoFlushNode(Node& node) MILLRACE_MAY_SUSPEND;
// The same for those who answer only for what was changed through the node, not for what a file
// may owe to others: asks nothing of a file that has been flushed since, or was not changed.
absl::Status CoFlushOwnChanges(Node& node) MILLRACE_MAY_SUSPEND;
absl::Status CoResizeNode(Node& node, uint64_t bytes) MILLRACE_MAY_SUSPEND;
// See DriverContext::CoReserveInChild.
absl::Status CoReserveInNode(Node& node, ByteRange range) MILLRACE_MAY_SUSPEND;
// This layer's answer; filters are looked through.
absl::StatusOr<Extent> CoMapNode(Node& node, ByteRange range) MILLRACE_MAY_SUSPEND;
void CoRaiseEvent(Node& node, std::string_view event) MILLRACE_MAY_SUSPEND;

// See Attachment::CoAllocation; `first` and `last` may be null (the first layer, the bottom).
absl::StatusOr<AllocationRun> CoAllocationInChain(Node& top, ByteRange range, const Node* first,
                                                  const Node* last) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IO_NODE_IO_H_
