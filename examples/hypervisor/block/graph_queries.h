// x-debug-query-block-graph: nodes, drives and jobs, and the edges between them.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_GRAPH_QUERIES_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_GRAPH_QUERIES_H_

#include "examples/hypervisor/qmp/json.h"
#include "millrace/graph/graph_view.h"

namespace millrace {

json::object DescribeEdgesForQuery(const GraphReader& reader);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_GRAPH_QUERIES_H_
