#include "millrace/graph/write_threshold.h"

#include <utility>

#include "millrace/graph/graph_internals.h"

namespace millrace {

absl::Status SetWriteThreshold(Graph& graph, NodeId id, uint64_t bytes,
                               std::function<void(uint64_t exceeded_by)> on_exceeded) {
  GraphInternals& internals = GraphInternals::Of(graph);
  Node* node = internals.Resolve(id);
  if (node == nullptr) return internals.StaleError(id);
  node->write_threshold = bytes;
  node->on_write_threshold = bytes == 0 ? nullptr : std::move(on_exceeded);
  return absl::OkStatus();
}

void Node::NoteWrite(uint64_t end) {
  if (end > highest_write_end) highest_write_end = end;
  if (write_threshold == 0 || end <= write_threshold) return;
  const uint64_t exceeded_by = end - std::exchange(write_threshold, 0);
  const auto tell = std::exchange(on_write_threshold, nullptr);
  tell(exceeded_by);
}

}  // namespace millrace
