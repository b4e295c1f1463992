// One view at a time: what holds in one may not hold in the other.
// expect: releasing permission 'kNoOpenView' that was not held
#include "millrace/graph/graph_view.h"

void Look(millrace::Graph& graph) MILLRACE_OPENS_VIEW {
  millrace::GraphView view(graph);
  millrace::GraphView again(graph);
}
