// InFlightRequest: the token of one request on one node. While it lives, the node stays in the
// graph and its child edges do not change, and a drain of the node waits for it.
// Internal; not installed.
//
// It moves with the request: taken before the first look at the graph, through queue and wake (the
// waker takes it on behalf of the woken, race R20), to after the completion callback (race R21).
// Home thread only; never suspends.
#ifndef MILLRACE_GRAPH_IO_IN_FLIGHT_REQUEST_H_
#define MILLRACE_GRAPH_IO_IN_FLIGHT_REQUEST_H_

#include <cstdint>

#include "millrace/engine/base/intrusive_list.h"

namespace millrace {

struct Node;

class InFlightRequest {
 public:
  InFlightRequest() = default;
  explicit InFlightRequest(Node& node) { Begin(node); }
  ~InFlightRequest() { End(); }
  InFlightRequest(const InFlightRequest&) = delete;
  InFlightRequest& operator=(const InFlightRequest&) = delete;

  void Begin(Node& node);
  // Ends the request; a drain that waited for it may be granted in this call.
  void End();
  bool is_active() const { return node_ != nullptr; }
  Node& node() const { return *node_; }
  // Requests of a node are numbered as they start.
  uint64_t ordinal() const { return ordinal_; }

 private:
  friend struct Node;
  Node* node_ = nullptr;
  uint64_t ordinal_ = 0;

 public:
  ListLink link_;  // for Node
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IO_IN_FLIGHT_REQUEST_H_
