// Nodes as queries show them: QAPI's BlockDeviceInfo and ImageInfo.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_NODE_QUERIES_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_NODE_QUERIES_H_

#include "examples/hypervisor/qmp/json.h"
#include "millrace/graph/graph_view.h"

namespace millrace {

// BlockDeviceInfo of a node; `flat`: without the images below its own.
json::object DescribeNodeForQuery(const NodeView& node, bool flat);

// The number of images below this one.
int64_t BackingDepth(const NodeView& node);

// x-debug-query-block-graph: nodes, drives and jobs, and the edges between them.
json::object DescribeEdgesForQuery(const GraphReader& reader);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_NODE_QUERIES_H_
