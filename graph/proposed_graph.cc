#include "millrace/graph/proposed_graph.h"

#include <algorithm>

#include "millrace/engine/engine.h"
#include "millrace/graph/graph_internals.h"

namespace millrace {

Node* ProposedGraph::ChildOf(const Edge& edge) const {
  for (const auto& change : retargeted) {
    if (change.first == &edge) return change.second;
  }
  return edge.child;
}

std::vector<Edge*> ProposedGraph::ChildrenOf(const Node& node) const {
  graph_.engine().scheduler().Count(Counter::kNodesVisited);
  std::vector<Edge*> edges;
  for (const std::unique_ptr<Edge>& edge : node.children) {
    if (ChildOf(*edge) != nullptr) edges.push_back(edge.get());
  }
  for (const std::unique_ptr<Edge>& edge : new_edges) {
    if (edge->parent == &node && edge->child != nullptr) edges.push_back(edge.get());
  }
  return edges;
}

std::vector<Edge*> ProposedGraph::ParentsOf(const Node& node) const {
  graph_.engine().scheduler().Count(Counter::kNodesVisited);
  std::vector<Edge*> edges;
  for (Edge* edge = node.parents.front(); edge != nullptr; edge = node.parents.After(*edge)) {
    if (ChildOf(*edge) == &node) edges.push_back(edge);
  }
  for (const auto& change : retargeted) {
    if (change.second == &node && change.first->child != &node) edges.push_back(change.first);
  }
  for (const std::unique_ptr<Edge>& edge : new_edges) {
    if (edge->child == &node) edges.push_back(edge.get());
  }
  for (Edge* edge : new_root_edges) {
    if (edge->child == &node) edges.push_back(edge);
  }
  return edges;
}

Edge* ProposedGraph::FindChild(const Node& node, Role role) const {
  for (Edge* edge : ChildrenOf(node)) {
    if (edge->role == role) return edge;
  }
  return nullptr;
}

ProposedGraph::Demands ProposedGraph::DemandsOf(const Edge& edge) const {
  auto found = demands.find(const_cast<Edge*>(&edge));
  return found == demands.end() ? Demands{edge.permissions, edge.reserved} : found->second;
}

bool ProposedGraph::IsReadOnly(const Node& node) const {
  auto found = read_only.find(const_cast<Node*>(&node));
  return found == read_only.end() ? node.is_read_only : found->second;
}

const OptionsChange* ProposedGraph::FindOptions(const Node& node) const {
  const auto found = std::find_if(options.begin(), options.end(),
                                  [&](const auto& each) { return each.first == &node; });
  return found == options.end() ? nullptr : &found->second;
}

const Driver& ProposedGraph::DriverOf(const Node& node) const {
  const OptionsChange* const change = FindOptions(node);
  if (change == nullptr || change->fresh == nullptr) return *node.driver;
  return node.driver->AsWithOptionsOf(*change->fresh);
}

const NodeIoOptions& ProposedGraph::IoOf(const Node& node) const {
  const OptionsChange* const change = FindOptions(node);
  return change == nullptr || !change->io ? node.io : *change->io;
}

std::string ProposedGraph::InWords(const Node& node) const {
  return node.InWords([this](const Node& each, Role role) -> const Node* {
    const Edge* const down = FindChild(each, role);
    return down == nullptr ? nullptr : ChildOf(*down);
  });
}

Node* ProposedGraph::FindByName(std::string_view name) const {
  for (const std::unique_ptr<Node>& node : new_nodes) {
    if (node->name == name) return node.get();
  }
  return GraphInternals::Of(graph_).FindByName(name);
}

Node* ProposedGraph::Resolve(NodeId id) const {
  for (const std::unique_ptr<Node>& node : new_nodes) {
    if (node->id == id) return node.get();
  }
  return GraphInternals::Of(graph_).Resolve(id);
}

bool ProposedGraph::IsPlanned(const Node& node) const {
  return std::any_of(new_nodes.begin(), new_nodes.end(),
                     [&](const std::unique_ptr<Node>& planned) { return planned.get() == &node; });
}

void ProposedGraph::AddNode(std::unique_ptr<Node> node) { new_nodes.push_back(std::move(node)); }

Edge* ProposedGraph::AddEdge(std::unique_ptr<Edge> edge) {
  new_edges.push_back(std::move(edge));
  return new_edges.back().get();
}

void ProposedGraph::AddRootEdge(Edge* edge) { new_root_edges.push_back(edge); }

void ProposedGraph::Retarget(Edge* edge, Node* child) {
  const bool is_new =
      std::any_of(new_edges.begin(), new_edges.end(),
                  [&](const std::unique_ptr<Edge>& planned) { return planned.get() == edge; }) ||
      std::find(new_root_edges.begin(), new_root_edges.end(), edge) != new_root_edges.end();
  if (is_new) {
    edge->child = child;
    return;
  }
  for (auto& change : retargeted) {
    if (change.first == edge) {
      change.second = child;
      return;
    }
  }
  retargeted.emplace_back(edge, child);
}

}  // namespace millrace
