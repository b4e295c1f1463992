// Snapshots of a graph for the recording of a run, so that a replay page can draw it.
#ifndef MILLRACE_EXAMPLES_SCENARIO_KIT_GRAPH_NOTES_H_
#define MILLRACE_EXAMPLES_SCENARIO_KIT_GRAPH_NOTES_H_

#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/graph.h"

namespace millrace {

// Notes the graph as it is now, where somebody records; costs nothing elsewhere. For calls between
// steps: from the predicate of Engine::RunUntil().
void NoteGraph(Graph& graph) MILLRACE_OPENS_VIEW;

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_SCENARIO_KIT_GRAPH_NOTES_H_
