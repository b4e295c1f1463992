// On the heap a view would escape the analysis.
// expect: overload resolution selected deleted function 'operator new'|call to deleted function
// 'operator new'
#include "millrace/graph/graph_view.h"

void* Escape(millrace::Graph& graph) MILLRACE_OPENS_VIEW { return new millrace::GraphView(graph); }
