// A view that ends with its statement shows nothing that could be kept.
// expect: temporary
#include "millrace/graph/graph_view.h"

bool Look(millrace::Graph& graph, millrace::NodeId id) MILLRACE_OPENS_VIEW {
  auto node = millrace::GraphView(graph).Resolve(id);
  return node.ok();
}
