// Plans of commands that change nodes themselves.
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/node_checks.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/snapshot_commands.h"
#include "examples/hypervisor/block/tree_options.h"
#include "examples/hypervisor/introspect/plan.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_transaction.h"

namespace millrace {
namespace {

PlanResult PlanDelete(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  const std::string name = reader.String("node-name");
  MILLRACE_RETURN_IF_ERROR(CheckMayDelete(layer, name));
  return PlanOfStep(StrCat("close node '", name, "' and what only it holds"));
}

PlanResult PlanSnapshot(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const PreparedSnapshot snapshot, PrepareSnapshot(layer, reader));
  CommandPlan plan;
  GraphTransaction change(layer.graph());
  plan.before = ChainBelow(change, snapshot.node);
  StageSnapshot(change, snapshot.overlay, snapshot.node);
  plan.after = ChainBelow(change, snapshot.overlay);
  return PlanOfEdit(change, std::move(plan));
}

// Whether the names are free and the references lead somewhere; images are not opened.
PlanResult PlanAdd(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const NodeTree tree, ReadNodeTree(reader, TreeStyle::kBlockdev));
  if (tree.node_name.empty()) {
    return GenericError("'node-name' must be specified for the root node");
  }
  GraphView view(layer.graph());
  if (view.Find(tree.node_name).ok()) {
    return GenericError(StrCat("Duplicate nodes with node-name='", tree.node_name, "'"));
  }
  CommandPlan plan;
  plan.steps.push_back(StrCat("open node '", tree.node_name, "' (", tree.driver, ")"));
  for (const ChildTree& child : tree.children) {
    if (child.reference.empty()) continue;
    if (!view.FindDeviceOrNode(child.reference).ok()) {
      return GenericError(StrCat("Cannot find device='", child.reference, "' nor node-name='",
                                 child.reference, "'"));
    }
    plan.steps.push_back(StrCat("link its '", child.name, "' to '", child.reference, "'"));
  }
  return plan;
}

}  // namespace

void SetNodePlanners(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  commands.SetPlanner("blockdev-add", [&layer](const json::object& given)
                                          MILLRACE_OPENS_VIEW { return PlanAdd(layer, given); });
  commands.SetPlanner("blockdev-del", [&layer](const json::object& given)
                                          MILLRACE_OPENS_VIEW { return PlanDelete(layer, given); });
  commands.SetPlanner("blockdev-snapshot", [&layer](const json::object& given) MILLRACE_OPENS_VIEW {
    return PlanSnapshot(layer, given);
  });
}

}  // namespace millrace
