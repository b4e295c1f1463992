// Which children a tree's node may have, and needs: for who opens it, and for who only stages it.
// Internal; not installed.
#ifndef MILLRACE_GRAPH_OPEN_CHILD_ROLES_H_
#define MILLRACE_GRAPH_OPEN_CHILD_ROLES_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/node_tree.h"
#include "millrace/graph/role.h"

namespace millrace {

// InvalidArgument: the driver of the tree has no child of this name. The text says which one it
// stands on, if the driver is given.
absl::Status NoSuchChild(const NodeTree& tree, const ChildTree& child,
                         const Driver* driver = nullptr);

// The role of a child that is no backing. A driver of null is a format that is still to be guessed,
// and stands on a file. InvalidArgument: it has no such child.
absl::StatusOr<Role> RoleOfChild(const NodeTree& tree, const Driver* driver,
                                 const ChildTree& child);

// Whether so many children to stand on, files and filtered ones, are as many as it needs.
// InvalidArgument (kUnsupportedByDriver): they are not.
absl::Status CheckStandsOn(const NodeTree& tree, const Driver* driver, size_t count);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_OPEN_CHILD_ROLES_H_
