// G9: nothing suspends while a view is open.
// expect: calling function 'CoYield' requires holding permission 'kNoOpenView'
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/graph/graph_view.h"

void CoLook(millrace::Graph& graph) MILLRACE_MAY_SUSPEND {
  millrace::GraphView view(graph);
  millrace::CoYield();
}
