// The graph in words, as a picture and as data: nodes, edges with their permissions and whoever
// leases them, attachments and claims with their holders, drained sections.
//
// Works on the graph as it is (a GraphView) and as it would be (a GraphTransaction: a dry run;
// after Validate() also the derived permissions are those of the plan). Everything comes in order
// of creation, so equal graphs give equal texts. Costs time proportional to the graph. Suspends
// nowhere.
#ifndef MILLRACE_GRAPH_DESCRIBE_H_
#define MILLRACE_GRAPH_DESCRIBE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/holder.h"
#include "millrace/graph/node_id.h"
#include "millrace/graph/permission.h"

namespace millrace {

// "top <- [filter] <- base": from `top` down by filtered and backing links, filters in brackets.
std::string DescribeChain(NodeView top);
// The same of a graph as it is now; of a node that is not there any more: "(gone)".
std::string DescribeChain(Graph& graph, NodeId top) MILLRACE_OPENS_VIEW;

// Several lines, for people:
//   n1: memory-overlay, 8192 bytes, drained
//     used by guest device 'drive0' as root: uses consistent read, write; shares resize
//     backing -> n0: uses consistent read; shares consistent read; leased by stream job 'stream0'
//     claimed by stream job 'stream0': all operations
std::string DescribeText(const GraphReader& reader);
// For Graphviz: users as ellipses, filters dashed; drained nodes grey, with whoever drained them;
// leased links bold, with their lessee; claims below the node's name; each job tied by dots to what
// it has claimed.
std::string DescribeDot(const GraphReader& reader);
// One object: {"revision": ..., "nodes": [...], "sections": [...]}.
std::string DescribeJson(const GraphReader& reader);

// The same as data, for those who render it in words of their own, as the hypervisor example does
// for x-debug-query-block-graph.
struct GraphPicture {
  struct Vertex {
    uint64_t id = 0;  // by which edges name it; ids of one picture
    bool is_node = false;
    std::string name;  // a node's; a user's device, or its holder's id
    std::string type;  // a node's driver, or the type of a user's holder: "stream job"
  };
  struct Arrow {
    uint64_t parent = 0;
    uint64_t child = 0;
    std::string name;  // "backing", "file"; a user's purpose: "root", "main node"
    Permissions permissions;
    HolderRef lessee;  // null: not leased
  };
  std::vector<Vertex> vertices;  // nodes in order of creation, each after its new users
  std::vector<Arrow> arrows;
};

// A holder is one vertex, however many nodes it uses; a device is one of its own.
GraphPicture DescribePicture(const GraphReader& reader);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DESCRIBE_H_
