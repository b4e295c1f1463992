// NodeId: a node's name for programs. It may be stored, sent and printed; it cannot be
// dereferenced.
//
// A slot and a generation: when the node goes, the slot's generation moves on, so a stale id
// resolves to an error that says who removed the node and when, and never to another node.
#ifndef MILLRACE_GRAPH_NODE_ID_H_
#define MILLRACE_GRAPH_NODE_ID_H_

#include <compare>
#include <cstdint>
#include <string>

namespace millrace {

struct NodeId {
  uint32_t slot = UINT32_MAX;
  uint32_t generation = 0;

  constexpr bool is_valid() const { return slot != UINT32_MAX; }
  std::string ToString() const { return std::to_string(slot) + "." + std::to_string(generation); }
  friend constexpr auto operator<=>(const NodeId&, const NodeId&) = default;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_NODE_ID_H_
