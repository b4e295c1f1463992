// x-blockdev-change: a child of a quorum comes or goes while guests are at work.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/refusal.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/describe.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

constexpr std::string_view kChildPrefix = "children.";

struct QuorumChild {
  std::string edge_name;
  NodeId node;
};

// What is to become of a quorum's children.
struct ChildEdit {
  NodeId quorum;
  std::vector<QuorumChild> before;
  std::vector<QuorumChild> after;
};

std::vector<QuorumChild> ChildrenOf(const GraphReader& reader, const NodeView& quorum) {
  const GraphPicture picture = DescribePicture(reader);
  const auto name_of = [&](uint64_t id) {
    const auto found = std::find_if(picture.vertices.begin(), picture.vertices.end(),
                                    [&](const auto& vertex) { return vertex.id == id; });
    return found == picture.vertices.end() || !found->is_node ? std::string() : found->name;
  };
  std::vector<QuorumChild> children;
  for (const GraphPicture::Arrow& arrow : picture.arrows) {
    if (!arrow.name.starts_with(kChildPrefix) || name_of(arrow.parent) != quorum.name()) continue;
    const absl::StatusOr<NodeView> child = reader.Find(name_of(arrow.child));
    if (child.ok()) children.push_back({arrow.name, child->id()});
  }
  return children;
}

uint64_t ThresholdOf(const NodeView& quorum) {
  uint64_t threshold = 1;
  for (const ToldOption& option : quorum.told()) {
    if (option.name == "vote-threshold" && !absl::SimpleAtoi(option.text, &threshold)) return 1;
  }
  return threshold;
}

// One beyond the highest number in use, as a quorum that only grows has them.
std::string NextEdgeName(const std::vector<QuorumChild>& children) {
  uint64_t next = 0;
  for (const QuorumChild& child : children) {
    uint64_t number = 0;
    if (absl::SimpleAtoi(child.edge_name.substr(kChildPrefix.size()), &number)) {
      next = std::max(next, number + 1);
    }
  }
  return StrCat(kChildPrefix, next);
}

// As QEMU calls it: by its drive, if it has one.
std::string ShownName(const NodeView& node) {
  const std::string device = node.device_name();
  return device.empty() ? node.name() : device;
}

absl::Status NoQuorum(const NodeView& parent, std::string_view text) {
  return Refuse(ConflictReason::kUnsupportedByDriver, parent.name(), text,
                "name a quorum: only its children come and go");
}

absl::Status CheckNewChild(const NodeView& quorum, const NodeView& child,
                           const HolderRef& monitor) {
  if (!child.parents().empty() || child.user_count() > 1) {
    return RefuseForHolders(ConflictReason::kNodeInUse, child.name(), child.users(monitor),
                            StrCat("The node ", child.name(), " already has a parent"));
  }
  if (child.bytes() != quorum.bytes()) {
    return Refuse(ConflictReason::kSizeMismatch, child.name(),
                  StrCat("Node '", child.name(), "' has ", child.bytes(),
                         " bytes and the children of quorum '", quorum.name(), "' ", quorum.bytes(),
                         "; give it a child of that size"),
                  "give it a child of that size");
  }
  return absl::OkStatus();
}

absl::StatusOr<ChildEdit> ReadAddition(const GraphReader& reader, const NodeView& parent,
                                       const std::string& name, const HolderRef& monitor) {
  const absl::StatusOr<NodeView> child = reader.Find(name);
  if (!child.ok()) return RefuseUnknownNode(name, StrCat("Node '", name, "' not found"));
  if (parent.driver_name() != "quorum") {
    return NoQuorum(parent,
                    StrCat("The node ", ShownName(parent), " does not support adding a child"));
  }
  MILLRACE_RETURN_IF_ERROR(CheckNewChild(parent, *child, monitor));
  ChildEdit edit{parent.id(), ChildrenOf(reader, parent), {}};
  edit.after = edit.before;
  edit.after.push_back({NextEdgeName(edit.before), child->id()});
  return edit;
}

absl::StatusOr<ChildEdit> ReadRemoval(const GraphReader& reader, const NodeView& parent,
                                      const std::string& parent_name, const std::string& child) {
  ChildEdit edit{parent.id(), ChildrenOf(reader, parent), {}};
  edit.after = edit.before;
  const size_t removed =
      std::erase_if(edit.after, [&](const QuorumChild& each) { return each.edge_name == child; });
  const bool has_other =
      (child == "file" && (parent.Child(Role::kPrimary) || parent.Child(Role::kFiltered))) ||
      (child == "backing" && parent.Backing());
  if (has_other) {
    return NoQuorum(parent,
                    StrCat("The node ", ShownName(parent), " does not support removing a child"));
  }
  if (removed == 0) {
    return RefuseUnknownNode(child,
                             StrCat("Node '", parent_name, "' does not have child '", child, "'"));
  }
  if (edit.before.size() <= ThresholdOf(parent)) {
    return Refuse(ConflictReason::kUnsupportedByDriver, parent.name(),
                  StrCat("The number of children cannot be lower than the vote threshold ",
                         ThresholdOf(parent)),
                  "add another child first");
  }
  return edit;
}

absl::StatusOr<ChildEdit> ReadChange(BlockLayer& layer, const json::object& arguments)
    MILLRACE_OPENS_VIEW {
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
  return node ? ReadAddition(view, parent, *node, layer.monitor())
              : ReadRemoval(view, parent, parent_name, *child);
}

// All children go and come again in one edit: a link is taken away by its role, not by its name.
void Stage(GraphTransaction& edit, const ChildEdit& change) {
  for (size_t i = 0; i < change.before.size(); ++i) edit.RemoveChild(change.quorum, Role::kData);
  for (const QuorumChild& child : change.after) {
    edit.AddChild(change.quorum, Role::kData, child.node, child.edge_name);
  }
}

absl::StatusOr<AppliedEdit> Apply(BlockLayer& layer, const DrainedSection& drained,
                                  const ChildEdit& change) MILLRACE_OPENS_VIEW {
  GraphTransaction edit(layer.graph());
  edit.Show(drained).OnBehalfOf(layer.monitor());
  Stage(edit, change);
  return edit.Commit();
}

CommandResult CoChangeChildren(BlockLayer& layer, const json::object& arguments)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const ChildEdit asked, ReadChange(layer, arguments));
  MILLRACE_ASSIGN_OR_RETURN(
      DrainedSection drained,
      DrainedSection::CoBegin(layer.graph(), {asked.quorum}, {layer.monitor()}));
  // Jobs may have changed the graph while this waited.
  MILLRACE_ASSIGN_OR_RETURN(const ChildEdit change, ReadChange(layer, arguments));
  MILLRACE_ASSIGN_OR_RETURN(const AppliedEdit applied, Apply(layer, drained, change));
  drained.End();
  layer.graph().CoWaitForClosed(applied.dropped);
  return json::object();
}

PlanResult PlanChangeChildren(BlockLayer& layer, const json::object& arguments)
    MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const ChildEdit change, ReadChange(layer, arguments));
  GraphTransaction edit(layer.graph());
  Stage(edit, change);
  return PlanOfEdit(edit);
}

}  // namespace

void RegisterChildCommands(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  commands.Register({.name = "x-blockdev-change",
                     .arguments = {{{"parent"},
                                    {"child", ArgumentType::kString, true},
                                    {"node", ArgumentType::kString, true}}},
                     .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
                       return CoChangeChildren(layer, arguments);
                     }});
  commands.SetPlanner("x-blockdev-change",
                      [&layer](const json::object& arguments)
                          MILLRACE_OPENS_VIEW { return PlanChangeChildren(layer, arguments); });
}

}  // namespace millrace
