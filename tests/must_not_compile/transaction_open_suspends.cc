// G9: nothing suspends between staging an edit and applying it.
// expect: calling function 'CoYield' requires holding permission 'kNoOpenView'
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/graph/graph_transaction.h"

void CoEdit(millrace::Graph& graph, millrace::NodeId filter) MILLRACE_MAY_SUSPEND {
  millrace::GraphTransaction change(graph);
  change.RemoveFilter(filter);
  millrace::CoYield();
}
