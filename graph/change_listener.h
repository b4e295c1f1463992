// ChangeListener: is told of what is written to a node, whoever writes it.
//
// It is told of writes, zero writes and discards of the node itself when they have ended, whether
// they succeeded or not, and before a drain of the node sees them ended. A write that reaches the
// node below through it is told there as well if that node has a listener. What only stores what
// is visible already (a copy on read, a stream) is no change.
//
// Owned by whoever started it; the node knows of it and may go first. Home thread; nothing
// suspends.
#ifndef MILLRACE_GRAPH_CHANGE_LISTENER_H_
#define MILLRACE_GRAPH_CHANGE_LISTENER_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/node_id.h"

namespace millrace {

class ContentListener;

class ChangeListener {
 public:
  ChangeListener() = default;
  virtual ~ChangeListener();
  ChangeListener(const ChangeListener&) = delete;
  ChangeListener& operator=(const ChangeListener&) = delete;

  // To that node, and no longer to another. FailedPrecondition (kStaleNode).
  absl::Status ListenTo(Graph& graph, NodeId node);
  void StopListening();
  // Nothing once the node is gone.
  std::optional<NodeId> node() const;

 protected:
  // `node_bytes`: how long the node is now; a file grows by being written to.
  virtual void OnChange(ByteRange range, uint64_t node_bytes) = 0;
  virtual void OnResize(uint64_t /*node_bytes*/) {}

 private:
  friend struct Node;
  friend class ContentListener;
  // Whose part it is, if any.
  virtual ContentListener* content_listener() { return nullptr; }

  Node* node_ = nullptr;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_CHANGE_LISTENER_H_
