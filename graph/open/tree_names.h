// What the file name in a tree means: the options and children that it stands for. Nothing here
// does I/O. Internal; not installed.
#ifndef MILLRACE_GRAPH_OPEN_TREE_NAMES_H_
#define MILLRACE_GRAPH_OPEN_TREE_NAMES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/node_tree.h"
#include "millrace/graph/open_tree.h"

namespace millrace {

class TreeNames {
 public:
  // Both must outlive it.
  TreeNames(const DriverRegistry& registry, const OpenTreeOptions& options)
      : registry_(registry), options_(options) {}

  // Turns the file name, if there is one, into options and children. `is_file`: the node stands
  // where a file is wanted. InvalidArgument: a name that means nothing.
  absl::Status Resolve(NodeTree& tree, bool is_file) const;

  // Whether the tree says by itself which image is meant; else it adds to what a header says.
  bool NamesImage(const NodeTree& tree) const;

 private:
  bool IsJsonName(const NodeTree& tree) const;
  absl::StatusOr<NodeTree> Parse(const NodeTree& tree) const;
  bool IsProtocol(const std::string& driver) const;
  bool IsFilterOverImage(const std::string& driver) const;
  // Whether a file's name means the file below, also where a file is wanted itself: a format's or
  // a filter's, but for one that stands in names ("blkdebug:...").
  bool PassesNameOn(const std::string& driver) const;

  const DriverRegistry& registry_;
  const OpenTreeOptions& options_;
};

// For texts: the name of the file far below a resolved tree, or of the node.
std::string NameOfTree(const NodeTree& tree);

// For texts: "open node 'disk' (qcow2)".
std::string DescribeTree(const NodeTree& tree);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_OPEN_TREE_NAMES_H_
