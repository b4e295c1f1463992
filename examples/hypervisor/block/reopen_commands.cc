// Changing what is open: blockdev-reopen, x-blockdev-change, block-set-write-threshold.
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/reopen_request.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/write_threshold.h"

namespace millrace {
namespace {

absl::StatusOr<std::vector<NodeChange>> ReadReopen(BlockLayer& layer, const json::object& arguments)
    MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  const json::array* options = reader.OptionalArray("options");
  if (options == nullptr) return GenericError("Parameter 'options' is missing");
  return ReadReopenRequest(layer, *options);
}

CommandResult CoBlockdevReopen(BlockLayer& layer, const json::object& arguments)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(std::vector<NodeChange> changes, ReadReopen(layer, arguments));
  MILLRACE_RETURN_IF_ERROR(CoReopenNodes(layer.graph(), std::move(changes), layer.monitor()));
  return json::object();
}

PlanResult PlanBlockdevReopen(BlockLayer& layer, const json::object& arguments)
    MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const std::vector<NodeChange> changes, ReadReopen(layer, arguments));
  GraphTransaction edit(layer.graph());
  StageReopen(edit, changes);
  MILLRACE_ASSIGN_OR_RETURN(CommandPlan plan, PlanOfEdit(edit));
  for (const NodeChange& change : changes) {
    const absl::StatusOr<NodeView> node = edit.Resolve(change.node);
    if (node.ok()) plan.steps.push_back(StrCat("set the options of '", node->name(), "'"));
  }
  return plan;
}

// ---- x-blockdev-change -------------------------------------------------------------------------

// Quorums are made with their children and keep them.
CommandResult ChangeChildren(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  const std::string parent_name = reader.String("parent");
  MILLRACE_ASSIGN_OR_RETURN(const NodeId id, layer.FindDeviceOrNode(parent_name));
  const std::optional<std::string> child = reader.OptionalString("child");
  const std::optional<std::string> node = reader.OptionalString("node");
  if (child.has_value() == node.has_value()) {
    return GenericError(child ? "The parameters child and node are in conflict"
                              : "Either child or node must be specified");
  }
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView parent, view.Resolve(id));
  if (node) {
    if (!view.Find(*node).ok()) return GenericError(StrCat("Node '", *node, "' not found"));
    return GenericError(StrCat("The node ", parent.name(), " does not support adding a child"));
  }
  return GenericError(StrCat("Node '", parent_name, "' does not have child '", *child, "'"));
}

// ---- block-set-write-threshold -----------------------------------------------------------------

CommandResult SetThreshold(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  const std::string name = reader.String("node-name");
  absl::StatusOr<NodeId> node = layer.FindNode("", name);
  if (!node.ok()) return GenericError(StrCat("Device '", name, "' not found"));
  const uint64_t threshold = reader.OptionalSize("write-threshold").value_or(0);
  MILLRACE_RETURN_IF_ERROR(SetWriteThreshold(
      layer.graph(), *node, threshold, [&layer, name, threshold](uint64_t exceeded_by) {
        layer.host().events.Emit("BLOCK_WRITE_THRESHOLD", {{"node-name", name},
                                                           {"amount-exceeded", exceeded_by},
                                                           {"write-threshold", threshold}});
      }));
  return json::object();
}

}  // namespace

void RegisterReopenCommands(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  commands.Register({.name = "blockdev-reopen",
                     .arguments = {{{.name = "options",
                                     .type = ArgumentType::kArray,
                                     .schema_type = "[BlockdevOptions]"}}},
                     .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
                       return CoBlockdevReopen(layer, arguments);
                     }});
  commands.SetPlanner("blockdev-reopen",
                      [&layer](const json::object& arguments)
                          MILLRACE_OPENS_VIEW { return PlanBlockdevReopen(layer, arguments); });
  commands.Register({.name = "x-blockdev-change",
                     .arguments = {{{"parent"},
                                    {"child", ArgumentType::kString, true},
                                    {"node", ArgumentType::kString, true}}},
                     .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
                       return ChangeChildren(layer, arguments);
                     }});
  commands.Register({.name = "block-set-write-threshold",
                     .arguments = {{{"node-name"}, {"write-threshold", ArgumentType::kSize}}},
                     .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
                       return SetThreshold(layer, arguments);
                     }});
}

}  // namespace millrace
