// ContentListener: is told of what changes in what a node shows, wherever below it somebody writes.
//
// What a node shows may lie further down: a filter shows its child, a raw image its file, an
// overlay what it does not have itself. Others may write there, past the node, and a ChangeListener
// of the node hears nothing of it. A ContentListener listens at all of these, goes along when the
// graph below the node is edited, and tells what has changed by the node's own offsets. It may tell
// of more than has changed: what is written to a backing may be hidden by the overlay. After an
// edit that brings an image in, takes one out or changes their order, all may be another; unless
// whoever edits says that what he takes out was not shown (GraphTransaction::ShowsTheSame).
//
// When it tells of a change, and of which: as a ChangeListener, and of a change of length what lies
// behind the nearer end. Owned by whoever started it; the nodes know of it and may go first. Home
// thread; nothing suspends.
#ifndef MILLRACE_GRAPH_CONTENT_LISTENER_H_
#define MILLRACE_GRAPH_CONTENT_LISTENER_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/node_id.h"

namespace millrace {

struct Node;

class ContentListener {
 public:
  enum class Depth : uint8_t {
    kImage,  // the first image and what it keeps its bytes in
    kChain,  // also what shows through it
  };

  ContentListener();
  virtual ~ContentListener();
  ContentListener(const ContentListener&) = delete;
  ContentListener& operator=(const ContentListener&) = delete;

  // To what that node shows, once. FailedPrecondition (kStaleNode).
  absl::Status ListenTo(Graph& graph, NodeId node, Depth depth);
  void StopListening();
  // Where it listens now, from the node down.
  std::vector<NodeId> places() const;

 protected:
  // The range may reach beyond the node's end.
  virtual void OnContentChange(ByteRange range) = 0;

 private:
  friend struct GraphInternals;
  class Place;

  // Other children than before, or other options, at these nodes: listens where that leads to.
  static void OnLinksChange(absl::Span<Node* const> nodes, bool shows_the_same);
  void Follow(bool shows_the_same);
  void FindPlaces();
  // Which images are seen through the node, from the node down, and from where in each of them on.
  using ImagePlace = std::pair<NodeId, uint64_t>;
  std::vector<ImagePlace> Images() const;

  Graph* graph_ = nullptr;
  NodeId node_;
  Depth depth_ = Depth::kChain;
  std::vector<std::unique_ptr<Place>> places_;  // from the node down
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_CONTENT_LISTENER_H_
