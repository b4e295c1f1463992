// x-debug-query-block-graph: nodes, drives and jobs, and the edges between them.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_GRAPH_QUERIES_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_GRAPH_QUERIES_H_

#include <string>
#include <vector>

#include "examples/hypervisor/qmp/json.h"
#include "millrace/graph/graph_view.h"

namespace millrace {

// In QEMU's order: drives, jobs and nodes are mentioned in this order, and whatever they lead to.
// `drives`: names of all, with or without a medium, oldest first. `jobs`: ids of all block jobs,
// those included that are over and wait to be dismissed, newest first.
json::object DescribeEdgesForQuery(const GraphReader& reader,
                                   const std::vector<std::string>& drives,
                                   const std::vector<std::string>& jobs);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_GRAPH_QUERIES_H_
