// The plan of blockdev-snapshot.
#include <utility>
#include <vector>

#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/snapshot_commands.h"
#include "examples/hypervisor/introspect/plan.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

PlanResult PlanSnapshot(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  std::vector<PlannedSnapshot> planned(1);
  PreparedSnapshot& snapshot = planned[0].prepared;
  MILLRACE_ASSIGN_OR_RETURN(snapshot, PrepareSnapshot(layer, reader));
  CommandPlan before;
  {
    GraphView view(layer.graph());
    before.before = ChainBelow(view, snapshot.node);
  }
  MILLRACE_ASSIGN_OR_RETURN(CommandPlan plan, PlanApply(layer, planned, std::move(before)));
  GraphTransaction change(layer.graph());  // which could be, then
  StageSnapshot(change, snapshot.overlay, snapshot.node);
  plan.after = ChainBelow(change, snapshot.overlay);
  return plan;
}

}  // namespace

void SetNodePlanners(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  commands.SetPlanner("blockdev-snapshot", [&layer](const json::object& given) MILLRACE_OPENS_VIEW {
    return PlanSnapshot(layer, given);
  });
}

}  // namespace millrace
