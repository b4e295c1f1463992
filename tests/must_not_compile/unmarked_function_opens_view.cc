// A function that opens a view says so, and host code opens a HostScope first.
// expect: releasing permission 'kNoOpenView' that was not held
#include "millrace/graph/graph_view.h"

void Look(millrace::Graph& graph) { millrace::GraphView view(graph); }
