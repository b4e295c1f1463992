// A NodeView cannot be carried out of its block by assignment.
// expect: overload resolution selected deleted operator '='
#include "millrace/graph/graph_view.h"

void Carry(millrace::NodeView& outer, const millrace::NodeView& inner) { outer = inner; }
