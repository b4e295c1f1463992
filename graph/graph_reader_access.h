// The answers of a reader, for the files of graph/ that need more than NodeView tells: from the
// plan, if there is one, else from the graph. Internal; not installed.
#ifndef MILLRACE_GRAPH_GRAPH_READER_ACCESS_H_
#define MILLRACE_GRAPH_GRAPH_READER_ACCESS_H_

#include <vector>

#include "millrace/graph/graph_view.h"
#include "millrace/graph/node.h"
#include "millrace/graph/proposed_graph.h"

namespace millrace {

struct GraphReaderAccess {
  static const ProposedGraph* Plan(const GraphReader& reader) { return reader.proposed_; }

  static Node* Resolve(const GraphReader& reader, NodeId id);
  static Node* ChildOf(const GraphReader& reader, const Node& node, Role role);
  // Where an edge of the answers below points.
  static Node* ChildOf(const GraphReader& reader, const Edge& edge);
  static std::vector<Edge*> ChildrenOf(const GraphReader& reader, const Node& node);
  static std::vector<Edge*> ParentsOf(const GraphReader& reader, const Node& node);
  static Permissions PermissionsOf(const GraphReader& reader, const Edge& edge);
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_GRAPH_READER_ACCESS_H_
