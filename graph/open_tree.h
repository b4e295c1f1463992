// Opening a tree of nodes as a user asks for it: QEMU's blockdev-add.
//
// Children are opened before the node that stands on them, backing images after it, because a
// header may name them: what the tree says about the backing adds to what the header says, so that
// {backing: {node_name: "mid"}} names the node of the image that the header describes. Names found
// in headers pass the open gate; names in the tree are the user's word and do not. Backing images
// are opened read-only unless the tree says otherwise; other children are as the node above.
//
//   NodeTree tree;
//   tree.driver = "qcow2";
//   tree.node_name = "disk";
//   tree.filename = "disk.qcow2";
//   MILLRACE_ASSIGN_OR_RETURN(Attachment hold, CoOpenTree(graph, registry, std::move(tree), {}));
//
// Home thread; not cancellable. Whatever fails, every node and file that was opened is closed again
// when it returns.
#ifndef MILLRACE_GRAPH_OPEN_TREE_H_
#define MILLRACE_GRAPH_OPEN_TREE_H_

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/holder.h"
#include "millrace/graph/io/open_gate.h"
#include "millrace/graph/node_tree.h"

namespace millrace {

struct OpenTreeOptions {
  OpenGatePolicy gate{};
  // Who holds the nodes, in refusals and tombstones; null: one of its own, "monitor".
  HolderRef holder{};
  // What a name "json:{...}" means. Absent: there are no such names. In a header they are forbidden
  // all the same unless the gate is like QEMU's.
  std::function<absl::StatusOr<NodeTree>(std::string_view json)> parse_json_name{};
  // A descriptor for a file name that means one the embedder holds open ("/dev/fdset/2"); the
  // driver closes it. Nothing: an ordinary name. Absent: all names are ordinary.
  std::function<absl::StatusOr<std::optional<int>>(const std::string& name, bool is_writable)>
      open_descriptor{};
  // Present: an image whose format nobody states, and that looks like raw, is opened for writing
  // too, and is told of here by its file's name; what would make its start look like another format
  // cannot be written (drivers/raw.h); and a filter's file name means that file, not the image in
  // it. QEMU's way. Absent: such a guess is refused for writing.
  std::function<void(const std::string& name)> on_raw_guessed_for_writing{};
};

// The answer keeps the uppermost node: an attachment without permissions that stays at its node.
// What is below is kept by what stands on it.
//
// Errors: those of the drivers, the registry, the gate and the graph. NotFound (kUnknownNode): a
// reference to no node. InvalidArgument: a child that the driver does not have, or lacks.
// FailedPrecondition: locked by somebody else (kImageLocked), a loop, too deep, no format given.
// PermissionDenied: forbidden by the gate; a guess of raw for writing (on_raw_guessed_for_writing).
// NotFound (kUnknownFormat): stated, or guessed, and there is no such driver.
absl::StatusOr<Attachment> CoOpenTree(Graph& graph, const DriverRegistry& registry, NodeTree tree,
                                      const OpenTreeOptions& options) MILLRACE_MAY_SUSPEND;

struct StagedTree {
  // The uppermost node; invalid if the tree does not tell which nodes there would be, as where a
  // format is to be guessed.
  NodeId top{};
  Attachment hold{};
  // What only opening would tell, in words: "whether 'disk.qcow2' can be opened and locked".
  std::vector<std::string> unknown{};
};

// Stages what CoOpenTree() would put into the graph, as far as it is known without opening
// anything: what headers name is not there. For a rehearsal: the nodes are not opened, and must not
// come into being. Errors are those of CoOpenTree() that names, references, options and the graph
// give rise to; some of them only when the transaction is rehearsed.
absl::StatusOr<StagedTree> StageTree(GraphTransaction& change, const DriverRegistry& registry,
                                     NodeTree tree, const OpenTreeOptions& options);
// The same, with each node rehearsed as it is staged, as CoOpenTree() adds one after another: of
// several mistakes the one is told that it would tell. What has been staged before is rehearsed
// too.
absl::StatusOr<StagedTree> RehearseTree(GraphTransaction& change, const DriverRegistry& registry,
                                        NodeTree tree, const OpenTreeOptions& options);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_OPEN_TREE_H_
