// The graph in words, as a picture and as data: nodes, edges with their permissions and whoever
// leases them, attachments and claims with their holders, drained sections.
//
// Works on the graph as it is (a GraphView) and as it would be (a GraphTransaction: a dry run;
// after Validate() also the derived permissions are those of the plan). Everything comes in order
// of creation, so equal graphs give equal texts. Costs time proportional to the graph. Suspends
// nowhere.
#ifndef MILLRACE_GRAPH_DESCRIBE_H_
#define MILLRACE_GRAPH_DESCRIBE_H_

#include <string>

#include "millrace/graph/graph_view.h"

namespace millrace {

// "top <- [filter] <- base": from `top` down by filtered and backing links, filters in brackets.
std::string DescribeChain(NodeView top);

// Several lines, for people:
//   n1: memory-overlay, 8192 bytes, drained
//     used by block device 'drive0' as root: uses consistent read, write; shares resize
//     backing -> n0: uses consistent read; shares consistent read; leased by stream job 'stream0'
//     claimed by stream job 'stream0': all operations
std::string DescribeText(const GraphReader& reader);
// For Graphviz: users as ellipses, filters dashed, drained nodes grey, leased links bold.
std::string DescribeDot(const GraphReader& reader);
// One object: {"revision": ..., "nodes": [...], "sections": [...]}.
std::string DescribeJson(const GraphReader& reader);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DESCRIBE_H_
