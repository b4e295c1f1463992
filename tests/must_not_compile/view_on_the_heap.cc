// On the heap a view would escape the analysis.
// expect: deleted function 'operator new'
#include "millrace/graph/graph_view.h"

void* Escape(millrace::Graph& graph) MILLRACE_OPENS_VIEW { return new millrace::GraphView(graph); }
