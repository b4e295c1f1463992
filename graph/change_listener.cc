#include "millrace/graph/change_listener.h"

#include <utility>
#include <vector>

#include "millrace/graph/graph_internals.h"

namespace millrace {

ChangeListener::~ChangeListener() { StopListening(); }

absl::Status ChangeListener::ListenTo(Graph& graph, NodeId id) {
  GraphInternals& internals = GraphInternals::Of(graph);
  Node* node = internals.Resolve(id);
  if (node == nullptr) return internals.StaleError(id);
  StopListening();
  node_ = node;
  node->change_listeners.push_back(this);
  return absl::OkStatus();
}

void ChangeListener::StopListening() {
  if (node_ != nullptr) std::erase(std::exchange(node_, nullptr)->change_listeners, this);
}

std::optional<NodeId> ChangeListener::node() const {
  return node_ == nullptr ? std::nullopt : std::optional<NodeId>(node_->id);
}

void Node::TellOfChange(ByteRange range) {
  for (ChangeListener* listener : change_listeners) listener->OnChange(range, driver->bytes());
}

void Node::NoteResize() {
  for (ChangeListener* listener : change_listeners) listener->OnResize(driver->bytes());
}

void Node::LetGoOfChangeListeners() {
  for (ChangeListener* listener : change_listeners) listener->node_ = nullptr;
  change_listeners.clear();
}

}  // namespace millrace
