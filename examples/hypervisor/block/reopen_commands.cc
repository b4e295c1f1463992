// Changing what is open: blockdev-reopen, block-set-write-threshold.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/graph_users.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/refusal.h"
#include "examples/hypervisor/block/reopen_request.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/write_threshold.h"

namespace millrace {
namespace {

bool Reaches(const GraphReader& reader, NodeId from, NodeId to) {
  std::vector<NodeId> open = {from};
  std::vector<NodeId> seen;
  while (!open.empty()) {
    const NodeId id = open.back();
    open.pop_back();
    if (id == to) return true;
    if (std::find(seen.begin(), seen.end(), id) != seen.end()) continue;
    seen.push_back(id);
    const absl::StatusOr<NodeView> node = reader.Resolve(id);
    if (!node.ok()) continue;
    for (const Role role : {Role::kPrimary, Role::kBacking, Role::kFiltered}) {
      if (const std::optional<NodeView> child = node->Child(role)) open.push_back(child->id());
    }
  }
  return false;
}

// Links change one after the other, as they are named: no step may make a cycle, also if a later
// one would open it, nor bring devices of different iothreads together.
absl::Status CheckEachStep(BlockLayer& layer, const std::vector<NodeChange>& changes)
    MILLRACE_OPENS_VIEW {
  GraphTransaction steps(layer.graph());
  for (const NodeChange& change : changes) {
    for (const ChildChange& link : change.children) {
      if (link.child && Reaches(steps, *link.child, change.node)) {
        MILLRACE_ASSIGN_OR_RETURN(const NodeView parent, steps.Resolve(change.node));
        MILLRACE_ASSIGN_OR_RETURN(const NodeView child, steps.Resolve(*link.child));
        return Refuse(ConflictReason::kCycle, child.name(),
                      StrCat("Making '", child.name(), "' a ", link.edge_name, " child of '",
                             parent.name(), "' would create a cycle"),
                      "name first what opens the way");
      }
      if (link.role == Role::kBacking) {
        steps.SetBacking(change.node, link.child, std::nullopt);
      } else {
        steps.RemoveChild(change.node, link.role);
        if (link.child) steps.AddChild(change.node, link.role, *link.child, link.edge_name);
      }
      if (!link.child) continue;
      MILLRACE_RETURN_IF_ERROR(CheckIothreads(layer, steps, change.node, nullptr));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<NodeChange>> ReadReopen(BlockLayer& layer, const json::object& arguments)
    MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  const json::array* options = reader.OptionalArray("options");
  if (options == nullptr) return GenericError("Parameter 'options' is missing");
  MILLRACE_ASSIGN_OR_RETURN(std::vector<NodeChange> changes, ReadReopenRequest(layer, *options));
  MILLRACE_RETURN_IF_ERROR(CheckEachStep(layer, changes));
  return changes;
}

std::vector<NodeId> BecomingReadOnly(const std::vector<NodeChange>& changes) {
  std::vector<NodeId> nodes;
  for (const NodeChange& change : changes) {
    if (change.is_read_only.value_or(false)) nodes.push_back(change.node);
  }
  return nodes;
}

// Of nodes that become read-only together the highest one that is written to.
std::string HighestWritten(const NodeView& start, const std::vector<NodeId>& becoming_read_only) {
  std::string name = start.name();
  std::vector<NodeId> above = start.parents();
  while (!above.empty()) {
    const absl::StatusOr<NodeView> parent = start.reader().Resolve(above.back());
    above.pop_back();
    if (!parent.ok() || std::find(becoming_read_only.begin(), becoming_read_only.end(),
                                  parent->id()) == becoming_read_only.end()) {
      continue;
    }
    if (!parent->cumulative_permissions().used.Intersects(kWrite | kWriteUnchanged)) continue;
    name = parent->name();
    above = parent->parents();
  }
  return name;
}

// A node that is about to become read-only, and whose users write.
absl::Status AsReopenFailure(BlockLayer& layer, const absl::Status& status,
                             const std::vector<NodeId>& becoming_read_only) MILLRACE_OPENS_VIEW {
  const std::optional<Conflict> conflict = ConflictOf(status);
  if (!conflict || conflict->reason != ConflictReason::kReadOnly) return status;
  GraphView view(layer.graph());
  const absl::StatusOr<NodeView> node = view.Find(conflict->object);
  if (!node.ok() || node->is_read_only()) return status;
  return WithConflictOf(
      GenericError(StrCat("Read-only block node '", HighestWritten(*node, becoming_read_only),
                          "' cannot support read-write users")),
      status);
}

CommandResult CoBlockdevReopen(BlockLayer& layer, const json::object& arguments)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(std::vector<NodeChange> changes, ReadReopen(layer, arguments));
  const std::vector<NodeId> becoming_read_only = BecomingReadOnly(changes);
  const absl::Status status = CoReopenNodes(layer.graph(), std::move(changes), layer.monitor());
  if (status.ok()) return json::object();
  return AsReopenFailure(layer, status, becoming_read_only);
}

PlanResult PlanChanges(BlockLayer& layer, const std::vector<NodeChange>& changes)
    MILLRACE_OPENS_VIEW {
  GraphTransaction edit(layer.graph());
  StageReopen(edit, changes);
  return PlanOfEdit(edit);
}

PlanResult PlanBlockdevReopen(BlockLayer& layer, const json::object& arguments)
    MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const std::vector<NodeChange> changes, ReadReopen(layer, arguments));
  PlanResult plan = PlanChanges(layer, changes);
  if (plan.ok()) return plan;
  return AsReopenFailure(layer, plan.status(), BecomingReadOnly(changes));
}

// ---- block-set-write-threshold -----------------------------------------------------------------

absl::StatusOr<NodeId> FindForThreshold(BlockLayer& layer, const std::string& name)
    MILLRACE_OPENS_VIEW {
  absl::StatusOr<NodeId> node = layer.FindNode("", name);
  if (!node.ok()) return RefuseUnknownNode(name, StrCat("Device '", name, "' not found"));
  return node;
}

PlanResult PlanThreshold(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  const std::string name = reader.String("node-name");
  MILLRACE_RETURN_IF_ERROR(FindForThreshold(layer, name).status());
  const uint64_t threshold = reader.OptionalSize("write-threshold").value_or(0);
  return PlanOfStep(threshold == 0
                        ? StrCat("watch writes to '", name, "' no more")
                        : StrCat("tell of a write to '", name, "' beyond ", threshold, " bytes"));
}

CommandResult SetThreshold(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  const std::string name = reader.String("node-name");
  MILLRACE_ASSIGN_OR_RETURN(const NodeId node, FindForThreshold(layer, name));
  const uint64_t threshold = reader.OptionalSize("write-threshold").value_or(0);
  MILLRACE_RETURN_IF_ERROR(SetWriteThreshold(
      layer.graph(), node, threshold, [&layer, name, threshold](uint64_t exceeded_by) {
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
  commands.Register({.name = "block-set-write-threshold",
                     .arguments = {{{"node-name"}, {"write-threshold", ArgumentType::kSize}}},
                     .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
                       return SetThreshold(layer, arguments);
                     }});
  commands.SetPlanner("block-set-write-threshold",
                      [&layer](const json::object& arguments)
                          MILLRACE_OPENS_VIEW { return PlanThreshold(layer, arguments); });
}

}  // namespace millrace
