// Tells somebody, once, when a node is written beyond an offset: for thin images on a device that
// must grow in time.
//
// Counted are writes to the node itself, whoever makes them and in however many parts, of zeroes
// too, as QEMU counts them; discards take no space. Home thread; nothing suspends.
#ifndef MILLRACE_GRAPH_WRITE_THRESHOLD_H_
#define MILLRACE_GRAPH_WRITE_THRESHOLD_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/node_id.h"

namespace millrace {

// `on_exceeded` is called as a write that ends beyond `bytes` begins, with how far beyond, and the
// threshold is gone. 0 takes a threshold away. FailedPrecondition (kStaleNode).
absl::Status SetWriteThreshold(Graph& graph, NodeId node, uint64_t bytes,
                               std::function<void(uint64_t exceeded_by)> on_exceeded);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_WRITE_THRESHOLD_H_
