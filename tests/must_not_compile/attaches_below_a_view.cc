// A helper that opens a view of its own is not called under one.
// expect: calling function 'Attach' requires holding permission 'kNoOpenView'
#include "millrace/graph/attachment.h"
#include "millrace/graph/graph_view.h"

void Edit(millrace::Graph& graph, millrace::NodeId node) MILLRACE_OPENS_VIEW {
  millrace::GraphView view(graph);
  millrace::Attachment::Attach(graph, node, {}).IgnoreError();
}
