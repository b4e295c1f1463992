// What the programs about the graph break, done right.
// compiles
#include <optional>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"

namespace millrace {

absl::StatusOr<NodeId> BackingOf(Graph& graph, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(graph);
  MILLRACE_ASSIGN_OR_RETURN(NodeView node, view.Resolve(id));
  std::optional<NodeView> backing = node.Backing();
  return backing ? backing->id() : id;
}

absl::Status CoCut(Graph& graph, NodeId overlay, HolderRef holder) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                            DrainedSection::CoBegin(graph, {overlay}, {holder}));
  MILLRACE_ASSIGN_OR_RETURN(NodeId backing, BackingOf(graph, overlay));
  {
    GraphTransaction change(graph);
    change.Show(drained).SetBacking(overlay, backing, std::nullopt);
    MILLRACE_ASSIGN_OR_RETURN(AppliedEdit edit, change.Commit());
  }
  CoYield();
  return absl::OkStatus();
}

void LookFromOutside(Graph& graph) {
  HostScope host;
  GraphView view(graph);
}

}  // namespace millrace
