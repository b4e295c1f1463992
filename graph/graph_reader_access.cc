#include "millrace/graph/graph_reader_access.h"

#include "millrace/graph/graph_internals.h"

namespace millrace {

Node* GraphReaderAccess::Resolve(const GraphReader& reader, NodeId id) {
  const ProposedGraph* plan = Plan(reader);
  return plan != nullptr ? plan->Resolve(id) : GraphInternals::Of(reader.graph()).Resolve(id);
}

Node* GraphReaderAccess::ChildOf(const GraphReader& reader, const Node& node, Role role) {
  if (const ProposedGraph* plan = Plan(reader)) {
    Edge* edge = plan->FindChild(node, role);
    return edge == nullptr ? nullptr : plan->ChildOf(*edge);
  }
  Edge* edge = node.FindChild(role);
  return edge == nullptr ? nullptr : edge->child;
}

Node* GraphReaderAccess::ChildOf(const GraphReader& reader, const Edge& edge) {
  const ProposedGraph* plan = Plan(reader);
  return plan != nullptr ? plan->ChildOf(edge) : edge.child;
}

std::vector<Edge*> GraphReaderAccess::ChildrenOf(const GraphReader& reader, const Node& node) {
  if (const ProposedGraph* plan = Plan(reader)) return plan->ChildrenOf(node);
  std::vector<Edge*> edges;
  for (const std::unique_ptr<Edge>& edge : node.children) edges.push_back(edge.get());
  return edges;
}

std::vector<Edge*> GraphReaderAccess::ParentsOf(const GraphReader& reader, const Node& node) {
  if (const ProposedGraph* plan = Plan(reader)) return plan->ParentsOf(node);
  std::vector<Edge*> edges;
  for (Edge* edge = node.parents.front(); edge != nullptr; edge = node.parents.After(*edge)) {
    edges.push_back(edge);
  }
  return edges;
}

Permissions GraphReaderAccess::PermissionsOf(const GraphReader& reader, const Edge& edge) {
  const ProposedGraph* plan = Plan(reader);
  return plan != nullptr ? plan->PermissionsOf(edge) : edge.permissions;
}

}  // namespace millrace
