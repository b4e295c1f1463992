// A node seen through a view ends with the view.
// expect: address of stack memory associated with local variable 'view' returned
#include "millrace/graph/graph_view.h"

absl::StatusOr<millrace::NodeView> Escape(millrace::Graph& graph, millrace::NodeId id)
    MILLRACE_OPENS_VIEW {
  millrace::GraphView view(graph);
  return view.Resolve(id);
}
