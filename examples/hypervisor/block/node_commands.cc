// blockdev-add, blockdev-del, block_resize, change-backing-file.
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/blockdev_types.h"
#include "examples/hypervisor/block/node_checks.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/refusal.h"
#include "examples/hypervisor/block/tree_options.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open_node.h"
#include "millrace/graph/operation_claim.h"

namespace millrace {
namespace {

absl::StatusOr<NodeTree> ReadNewNode(const json::object& arguments) {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(NodeTree tree, ReadNodeTree(reader, TreeStyle::kBlockdev));
  if (!arguments.contains("node-name")) {
    return GenericError("'node-name' must be specified for the root node");
  }
  if (tree.node_name.empty()) return GenericError("Invalid node-name: ''");
  return tree;
}

CommandResult CoBlockdevAdd(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(NodeTree tree, ReadNewNode(arguments));
  MILLRACE_RETURN_IF_ERROR(layer.CoAddNode(std::move(tree)));
  return json::object();
}

PlanResult PlanBlockdevAdd(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(NodeTree tree, ReadNewNode(arguments));
  return layer.PlanAddNode(std::move(tree));
}

// ---- blockdev-del ------------------------------------------------------------------------------

// Jobs too have back ends, which count here.
bool HasBackend(const BlockLayer& layer, const NodeView& view) {
  for (const auto& [purpose, used] : view.job_uses()) {
    if (used.empty()) continue;  // one that waits to be dismissed only names its nodes
    if (purpose == "target" || purpose == "base") return true;
    const bool is_mirror = view.driver_name() == "mirror_top";  // whose job does not read by it
    if (view.is_filter() && !is_mirror && purpose == "main node") return true;
  }
  // A commit reads its top by a back end of its own.
  for (NodeId id : view.parents()) {
    absl::StatusOr<NodeView> parent = view.reader().Resolve(id);
    if (parent.ok() && parent->driver_name() == "commit_top") return true;
  }
  return layer.HasBackend(view.id());
}

}  // namespace

absl::Status CheckMayDelete(BlockLayer& layer, const std::string& name) {
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> node = view.Find(name);
  if (!node.ok()) {
    return RefuseUnknownNode(name, StrCat("Failed to find node with node-name='", name, "'"));
  }
  const auto in_use = [&](std::string_view text) {
    return RefuseForHolders(ConflictReason::kNodeInUse, name, node->users(layer.monitor()), text);
  };
  if (HasBackend(layer, *node)) return in_use(StrCat("Node ", name, " is in use"));
  MILLRACE_RETURN_IF_ERROR(CheckIsFree(*node, Operation::kDelete));
  if (!layer.OwnsNode(name)) return in_use(StrCat("Node ", name, " is not owned by the monitor"));
  if (node->user_count() > 1 || !node->parents().empty()) {
    return in_use(StrCat("Block device ", name, " is in use"));
  }
  return absl::OkStatus();
}

namespace {

CommandResult CoBlockdevDel(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  const std::string name = reader.String("node-name");
  MILLRACE_RETURN_IF_ERROR(CheckMayDelete(layer, name));
  layer.CoLetGoOfNode(name);
  return json::object();
}

PlanResult PlanBlockdevDel(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  const std::string name = ArgumentReader(arguments).String("node-name");
  MILLRACE_RETURN_IF_ERROR(CheckMayDelete(layer, name));
  return layer.PlanLetGoOfNode(name);
}

// ---- block_resize ------------------------------------------------------------------------------

constexpr std::string_view kResizeAnother = "resize an image of a format that can grow";

// An L1 table has 32 MiB at most, whatever the host would have room for.
absl::Status CheckTableFits(const NodeView& image, uint64_t size) {
  constexpr uint64_t kL2TablesMax = (uint64_t{32} << 20) / sizeof(uint64_t);
  const uint64_t table = BytesOfL2Table(image);
  if (AlignUp(size, table) / table <= kL2TablesMax) return absl::OkStatus();
  return Refuse(ConflictReason::kInvalidOption, image.name(),
                "Failed to grow the L1 table: File too large", "use an image of larger clusters");
}

absl::Status CheckNewSize(const NodeView& node, int64_t size) {
  MILLRACE_RETURN_IF_ERROR(CheckSizeMax(static_cast<uint64_t>(size)));
  const NodeView image = SkipFilters(node);
  if (image.driver_name() == "qcow2" && size % 512 != 0) {
    return Refuse(ConflictReason::kInvalidOption, node.name(),
                  "The new size must be a multiple of 512", "give a multiple of 512");
  }
  for (const char* fixed : {"null-co", "null-aio", "quorum"}) {
    if (image.driver_name() == fixed) {
      return Refuse(ConflictReason::kUnsupportedByDriver, node.name(),
                    "Image format driver does not support resize", kResizeAnother);
    }
  }
  const std::vector<ToldOption>& told = image.told();
  const bool has_size = std::any_of(told.begin(), told.end(),
                                    [](const ToldOption& option) { return option.name == "size"; });
  if (image.driver_name() == "raw" && has_size) {
    return Refuse(ConflictReason::kUnsupportedByDriver, node.name(),
                  "Cannot resize fixed-size raw disks", kResizeAnother);
  }
  if (node.is_read_only()) {
    return Refuse(ConflictReason::kReadOnly, node.name(), "Image is read-only",
                  "reopen the node writable with blockdev-reopen first");
  }
  return image.driver_name() == "qcow2" ? CheckTableFits(image, static_cast<uint64_t>(size))
                                        : absl::OkStatus();
}

// `device`: as the client called it, if he did; QEMU prints what C has for nothing.
absl::Status CheckMayResize(BlockLayer& layer, NodeId id, const std::optional<std::string>& device,
                            int64_t size) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.Resolve(id));
  const absl::Status in_the_way = CheckIsFree(node, Operation::kResize);
  if (!in_the_way.ok()) {
    return WithConflictOf(
        GenericError(StrCat("Device '", device.value_or("(null)"), "' is in use")), in_the_way);
  }
  return CheckNewSize(node, size);
}

struct ResizeRequest {
  NodeId node;
  std::string name;  // as the client called it
  uint64_t bytes = 0;
  bool is_plain_file = false;  // no format has tables to grow
};

absl::StatusOr<ResizeRequest> ReadResize(BlockLayer& layer, const json::object& arguments)
    MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  const std::optional<std::string> device = reader.OptionalString("device");
  const std::string node_name = reader.OptionalString("node-name").value_or("");
  ResizeRequest request;
  request.name = device.value_or("").empty() ? node_name : *device;
  MILLRACE_ASSIGN_OR_RETURN(request.node, layer.FindNode(device.value_or(""), node_name));
  const int64_t size = reader.Integer("size");
  if (size < 0) return GenericError("Parameter 'size' expects a >0 size");
  MILLRACE_RETURN_IF_ERROR(CheckMayResize(layer, request.node, device, size));
  request.bytes = static_cast<uint64_t>(size);
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.Resolve(request.node));
  request.is_plain_file = SkipFilters(node).driver_name() != "qcow2";
  return request;
}

AttachmentOptions Resizer() {
  AttachmentOptions options;
  options.holder = MakeHolder("", "block device");
  options.purpose = "root";
  options.permissions.used = kResize;
  return options;
}

CommandResult CoBlockResize(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const ResizeRequest request, ReadResize(layer, arguments));
  MILLRACE_ASSIGN_OR_RETURN(Attachment user,
                            Attachment::Attach(layer.graph(), request.node, Resizer()));
  absl::Status status = user.CoResize(request.bytes);
  user.CoDetach();
  if (request.is_plain_file && CarriesErrno(status)) {
    return GenericError(StrCat("Could not resize file: ", ErrnoText(ErrnoOf(status))));
  }
  MILLRACE_RETURN_IF_ERROR(status);
  return json::object();
}

PlanResult PlanResize(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const ResizeRequest request, ReadResize(layer, arguments));
  GraphTransaction change(layer.graph());
  const Attachment user = change.Attach(request.node, Resizer());
  MILLRACE_RETURN_IF_ERROR(change.Rehearse());
  CommandPlan plan = PlanOfStep(StrCat("make '", request.name, "' ", request.bytes, " bytes long"));
  plan.unknown.push_back("whether the image can have that length");
  return plan;
}

// ---- change-backing-file -----------------------------------------------------------------------

struct HeaderRequest {
  NodeId device;
  NodeId image;
  std::string device_name;
  std::string filename;
};

absl::Status CheckIsRoot(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.Resolve(id));
  return CheckIsRootForJobs(node);
}

absl::StatusOr<HeaderRequest> ReadHeader(BlockLayer& layer, const json::object& arguments)
    MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  HeaderRequest request;
  request.device_name = reader.String("device");
  request.filename = reader.String("backing-file");
  MILLRACE_ASSIGN_OR_RETURN(request.device, layer.FindDeviceOrNode(request.device_name));
  MILLRACE_RETURN_IF_ERROR(CheckIsRoot(layer, request.device));
  MILLRACE_ASSIGN_OR_RETURN(request.image, layer.FindNode("", reader.String("image-node-name")));
  return request;
}

absl::Status StageHeader(GraphTransaction& change, const HeaderRequest& request) {
  MILLRACE_ASSIGN_OR_RETURN(const NodeView top, change.Resolve(request.device));
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, change.Resolve(request.image));
  // What the graph says, not the header: an image may stand on another than the one it names.
  if (!node.is_filter() && !BackingChainNext(node)) {
    return Refuse(ConflictReason::kNoBacking, node.name(),
                  "not allowing backing file change on an image without a backing file",
                  "name an image that stands on another");
  }
  MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(change, request.device, Operation::kChange));
  if (!ChainContains(top, node)) {
    return Refuse(ConflictReason::kNotInChain, node.name(),
                  StrCat("'", request.device_name, "' and image file are not in the same chain"),
                  "name an image of the device's chain");
  }
  if (node.is_filter()) {
    return Refuse(
        ConflictReason::kIsFilter, node.name(),
        StrCat("Could not change backing file to '", request.filename, "': ", ErrnoText(ENOTSUP)),
        "name an image: a filter has no header");
  }
  BackingReference header{request.filename, node.backing_reference().format};
  if (request.filename.empty()) {
    header.format.clear();
  } else if (std::optional<NodeView> below = BackingChainNext(node)) {
    header.format = std::string(below->driver_name());
  }
  MILLRACE_RETURN_IF_ERROR(node.CheckBackingReference(header));
  change.SetHeader(request.image, std::move(header));
  return absl::OkStatus();
}

absl::StatusOr<AppliedEdit> ChangeHeader(BlockLayer& layer, const HeaderRequest& request)
    MILLRACE_OPENS_VIEW {
  GraphTransaction change(layer.graph());
  change.OnBehalfOf(layer.monitor());
  MILLRACE_RETURN_IF_ERROR(StageHeader(change, request));
  return change.Commit();
}

CommandResult CoChangeBackingFile(BlockLayer& layer, const json::object& arguments)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const HeaderRequest request, ReadHeader(layer, arguments));
  MILLRACE_ASSIGN_OR_RETURN(const AppliedEdit edit, ChangeHeader(layer, request));
  MILLRACE_RETURN_IF_ERROR(CoSyncBackingHeaders(layer.graph(), edit.headers, layer.monitor()));
  return json::object();
}

PlanResult PlanChangeBackingFile(BlockLayer& layer, const json::object& arguments)
    MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const HeaderRequest request, ReadHeader(layer, arguments));
  GraphTransaction change(layer.graph());
  MILLRACE_RETURN_IF_ERROR(StageHeader(change, request));
  MILLRACE_RETURN_IF_ERROR(change.Rehearse());
  return PlanOfStep(StrCat("write '", request.filename, "' into the header of the image"));
}

}  // namespace

void RegisterNodeCommands(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  commands.Register(
      {.name = "blockdev-add",
       .handler = [&layer](const json::object& arguments)
                      MILLRACE_MAY_SUSPEND { return CoBlockdevAdd(layer, arguments); },
       .schema_type = "BlockdevOptions"});
  commands.AddTypes(DescribeBlockdevTypes());
  commands.Register({.name = "blockdev-del",
                     .arguments = {{{"node-name"}}},
                     .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
                       return CoBlockdevDel(layer, arguments);
                     }});
  commands.Register({.name = "block_resize",
                     .arguments = {{{"device", ArgumentType::kString, true},
                                    {"node-name", ArgumentType::kString, true},
                                    {"size", ArgumentType::kInteger}}},
                     .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
                       return CoBlockResize(layer, arguments);
                     }});
  commands.Register({.name = "change-backing-file",
                     .arguments = {{{"device"}, {"image-node-name"}, {"backing-file"}}},
                     .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
                       return CoChangeBackingFile(layer, arguments);
                     }});
  commands.SetPlanner("blockdev-add", [&layer](const json::object& arguments) MILLRACE_OPENS_VIEW {
    return PlanBlockdevAdd(layer, arguments);
  });
  commands.SetPlanner("blockdev-del", [&layer](const json::object& arguments) MILLRACE_OPENS_VIEW {
    return PlanBlockdevDel(layer, arguments);
  });
  commands.SetPlanner("block_resize", [&layer](const json::object& arguments) MILLRACE_OPENS_VIEW {
    return PlanResize(layer, arguments);
  });
  commands.SetPlanner("change-backing-file",
                      [&layer](const json::object& arguments)
                          MILLRACE_OPENS_VIEW { return PlanChangeBackingFile(layer, arguments); });
}

}  // namespace millrace
