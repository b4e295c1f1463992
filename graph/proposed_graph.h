// ProposedGraph: the graph as it would be after a plan. Internal; not installed.
//
// A thin layer of differences over the real graph, with the same questions. Its size is that of the
// plan, and so is the cost of every answer beyond what the real graph costs.
#ifndef MILLRACE_GRAPH_PROPOSED_GRAPH_H_
#define MILLRACE_GRAPH_PROPOSED_GRAPH_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/node.h"

namespace millrace {

class ProposedGraph {
 public:
  explicit ProposedGraph(Graph& graph) : graph_(graph) {}

  // ---- Questions --------------------------------------------------------------------------------
  // Where an edge would point; null if it would be gone.
  Node* ChildOf(const Edge& edge) const;
  std::vector<Edge*> ChildrenOf(const Node& node) const;
  std::vector<Edge*> ParentsOf(const Node& node) const;
  Edge* FindChild(const Node& node, Role role) const;
  Permissions PermissionsOf(const Edge& edge) const { return DemandsOf(edge).now; }
  // Permissions, and what is reserved.
  struct Demands {
    Permissions now;
    Permissions reserved;
    friend bool operator==(const Demands&, const Demands&) = default;
  };
  Demands DemandsOf(const Edge& edge) const;
  bool IsReadOnly(const Node& node) const;
  // Whom to ask for the permissions of the node's child edges.
  const Driver& DriverOf(const Node& node) const;
  const NodeIoOptions& IoOf(const Node& node) const;
  // Node::InWords().
  std::string InWords(const Node& node) const;
  Node* FindByName(std::string_view name) const;
  Node* Resolve(NodeId id) const;
  bool IsPlanned(const Node& node) const;

  // ---- Differences, by the transaction ---------------------------------------------------------
  void AddNode(std::unique_ptr<Node> node);
  Edge* AddEdge(std::unique_ptr<Edge> edge);  // a child edge; parent and child are set
  void AddRootEdge(Edge* edge);               // owned by its attachment
  void Retarget(Edge* edge, Node* child);     // null: remove
  void SetDemands(Edge* edge, Demands wanted) { demands[edge] = wanted; }
  void SetReadOnly(Node* node, bool wanted) {
    read_only[node] = wanted;
    reopened.push_back(node);
  }
  // At most once per node.
  void SetOptions(Node* node, OptionsChange wanted) {
    options.emplace_back(node, std::move(wanted));
  }

  // What the transaction applies.
  std::vector<std::unique_ptr<Node>> new_nodes;
  size_t rehearsed_nodes = 0;  // the new nodes that a rehearsal has found held
  std::vector<std::unique_ptr<Edge>> new_edges;
  std::vector<Edge*> new_root_edges;
  std::vector<std::pair<Edge*, Node*>> retargeted;  // existing edges, in order of staging
  // Ordered by address: looked up, never iterated where the order could show.
  absl::btree_map<Edge*, Demands> demands;
  absl::btree_map<Node*, bool> read_only;
  std::vector<Node*> reopened;  // those that SetReadOnly() named, in order of staging
  std::vector<std::pair<Node*, OptionsChange>> options;  // in order of staging

 private:
  const OptionsChange* FindOptions(const Node& node) const;

  Graph& graph_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_PROPOSED_GRAPH_H_
