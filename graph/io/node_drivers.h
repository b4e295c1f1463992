// A node's driver as the kind that it is, for the code that does I/O. Internal; not installed.
//
// The caller has looked at driver->kind(): a node never changes its driver. Neither suspends.
#ifndef MILLRACE_GRAPH_IO_NODE_DRIVERS_H_
#define MILLRACE_GRAPH_IO_NODE_DRIVERS_H_

#include "millrace/graph/driver.h"
#include "millrace/graph/node.h"

namespace millrace {

inline FormatDriver& AsFormat(Node& node) { return static_cast<FormatDriver&>(*node.driver); }
inline ProtocolDriver& AsProtocol(Node& node) { return static_cast<ProtocolDriver&>(*node.driver); }
inline FilterDriver& AsFilter(const Node& node) { return static_cast<FilterDriver&>(*node.driver); }

inline bool IsProtocol(const Node& node) { return node.driver->kind() == NodeKind::kProtocol; }

// What shows through it: the filtered child or the backing. Null: there is none.
inline Node* NodeBelow(const Node& node) {
  Edge* const edge = node.FilteredOrBacking();
  return edge == nullptr ? nullptr : edge->child;
}

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IO_NODE_DRIVERS_H_
