// A drain that nobody keeps would be over at once.
// expect: ignoring return value of function declared with
#include "millrace/graph/drain.h"

void CoCareless(millrace::Graph& graph) MILLRACE_MAY_SUSPEND {
  millrace::DrainedSection::CoBegin(graph, {}, {});
}
