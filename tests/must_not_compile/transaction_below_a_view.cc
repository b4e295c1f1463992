// A view would show the graph as it was before the edit.
// expect: releasing permission 'kNoOpenView' that was not held
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"

void Edit(millrace::Graph& graph) MILLRACE_OPENS_VIEW {
  millrace::GraphView view(graph);
  millrace::GraphTransaction change(graph);
}
