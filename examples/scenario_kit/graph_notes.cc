#include "examples/scenario_kit/graph_notes.h"

#include <string>

#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/describe.h"
#include "millrace/graph/graph_view.h"

namespace millrace {

void NoteGraph(Graph& graph) {
  StepObserver* observer = graph.engine().scheduler().observer();
  if (observer == nullptr) return;
  GraphView view(graph);
  std::string line;
  for (NodeId id : view.Nodes()) {
    const absl::StatusOr<NodeView> node = view.Resolve(id);
    if (!node.ok()) continue;
    StrAppend(&line, line.empty() ? "" : ", ", node->name());
  }
  observer->OnNote("graph", line, DescribeJson(view));
}

}  // namespace millrace
