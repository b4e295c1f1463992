// Roles: what an edge of the graph is for.
#ifndef MILLRACE_GRAPH_ROLE_H_
#define MILLRACE_GRAPH_ROLE_H_

#include <cstdint>
#include <string_view>

namespace millrace {

enum class Role : uint8_t {
  kRoot,      // a user's edge (an Attachment); has no parent node
  kPrimary,   // where a format keeps its data and metadata ("file")
  kBacking,   // what shows through where a format has nothing allocated ("backing")
  kFiltered,  // the one child a filter shows ("file")
  kData,      // further data: an external data file, a quorum child
};

std::string_view RoleName(Role role);

// The three kinds of node (graph/driver.h).
enum class NodeKind : uint8_t { kFormat, kProtocol, kFilter };

}  // namespace millrace

#endif  // MILLRACE_GRAPH_ROLE_H_
