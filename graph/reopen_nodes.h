// Changing live nodes as a user asks for it, several in one step: QEMU's blockdev-reopen.
//
//   std::vector<NodeChange> changes(1);
//   changes[0].node = overlay;
//   changes[0].children.push_back({Role::kBacking, "backing", base});
//   MILLRACE_RETURN_IF_ERROR(CoReopenNodes(graph, std::move(changes), holder));
//
// All of it happens inside one drained section and one transaction, or none of it. Home thread; not
// cancellable.
#ifndef MILLRACE_GRAPH_REOPEN_NODES_H_
#define MILLRACE_GRAPH_REOPEN_NODES_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/holder.h"
#include "millrace/graph/node_id.h"
#include "millrace/graph/node_io_options.h"

namespace millrace {

struct ChildChange {
  Role role = Role::kBacking;
  std::string edge_name{};  // "file", "backing"
  // What is to stand there; nothing: the link goes.
  std::optional<NodeId> child{};
};

// What is absent stays as it is.
struct NodeChange {
  NodeId node{};
  std::optional<bool> is_read_only{};
  std::optional<NodeIoOptions> io{};
  std::optional<std::vector<ToldOption>> told{};
  // A driver of the same kind, made with the options that are to hold from now on, never opened.
  std::unique_ptr<Driver> fresh{};
  std::vector<ChildChange> children{};
};

class GraphTransaction;

// Stages what CoReopenNodes() does to the graph, for a dry run. The changes must outlive the edit.
void StageReopen(GraphTransaction& edit, const std::vector<NodeChange>& changes);

// Of each node there is at most one change (InvalidArgument). A node that another change lets go of
// is prepared all the same, and then gone. Other errors are those of a transaction and of the
// drivers' CoPrepareReopen; nothing has changed then.
absl::Status CoReopenNodes(Graph& graph, std::vector<NodeChange> changes, const HolderRef& holder)
    MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_GRAPH_REOPEN_NODES_H_
