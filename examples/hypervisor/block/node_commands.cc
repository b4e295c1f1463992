// blockdev-add, blockdev-del, block_resize, change-backing-file.
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/tree_options.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open_node.h"
#include "millrace/graph/operation_claim.h"

namespace millrace {
namespace {

CommandResult CoBlockdevAdd(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(NodeTree tree, ReadNodeTree(reader, TreeStyle::kBlockdev));
  if (tree.node_name.empty()) {
    return GenericError("'node-name' must be specified for the root node");
  }
  MILLRACE_RETURN_IF_ERROR(layer.CoAddNode(std::move(tree)));
  return json::object();
}

// ---- blockdev-del ------------------------------------------------------------------------------

absl::Status CheckMayDelete(BlockLayer& layer, const std::string& name) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> node = view.Find(name);
  if (!node.ok()) return GenericError(StrCat("Failed to find node with node-name='", name, "'"));
  if (layer.HasBackend(node->id())) return GenericError(StrCat("Node ", name, " is in use"));
  MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(view, node->id(), Operation::kDelete));
  for (NodeId id : node->parents()) {
    absl::StatusOr<NodeView> parent = view.Resolve(id);
    if (!parent.ok() || !parent->Backing() || !(*parent->Backing() == *node)) continue;
    return GenericError(
        StrCat("Node '", name, "' is busy: node is used as backing hd of '", parent->name(), "'"));
  }
  if (!layer.OwnsNode(name)) {
    return GenericError(StrCat("Node ", name, " is not owned by the monitor"));
  }
  if (node->user_count() > 1 || !node->parents().empty()) {
    return GenericError(StrCat("Block device ", name, " is in use"));
  }
  return absl::OkStatus();
}

CommandResult CoBlockdevDel(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  const std::string name = reader.String("node-name");
  MILLRACE_RETURN_IF_ERROR(CheckMayDelete(layer, name));
  layer.CoLetGoOfNode(name);
  return json::object();
}

// ---- block_resize ------------------------------------------------------------------------------

absl::Status CheckMayResize(BlockLayer& layer, NodeId node, std::string_view name)
    MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  if (OperationClaim::Check(view, node, Operation::kResize).ok()) return absl::OkStatus();
  return GenericError(StrCat("Device '", name, "' is in use"));
}

CommandResult CoBlockResize(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  const std::string device = reader.OptionalString("device").value_or("");
  const std::string node_name = reader.OptionalString("node-name").value_or("");
  MILLRACE_ASSIGN_OR_RETURN(const NodeId node, layer.FindNode(device, node_name));
  const int64_t size = reader.Integer("size");
  if (size < 0) return GenericError("Parameter 'size' expects a >0 size");
  MILLRACE_RETURN_IF_ERROR(CheckMayResize(layer, node, device.empty() ? node_name : device));
  AttachmentOptions options;
  options.holder = MakeHolder("", "block device");
  options.purpose = "root";
  options.permissions.used = kResize;
  MILLRACE_ASSIGN_OR_RETURN(Attachment user, Attachment::Attach(layer.graph(), node, options));
  absl::Status status = user.CoResize(static_cast<uint64_t>(size));
  user.CoDetach();
  MILLRACE_RETURN_IF_ERROR(status);
  return json::object();
}

// ---- change-backing-file -----------------------------------------------------------------------

absl::StatusOr<AppliedEdit> StageHeader(BlockLayer& layer, NodeId device, NodeId image,
                                        const std::string& device_name, const std::string& filename)
    MILLRACE_OPENS_VIEW {
  GraphTransaction change(layer.graph());
  change.OnBehalfOf(layer.monitor());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView top, change.Resolve(device));
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, change.Resolve(image));
  if (!ChainContains(top, node)) {
    return GenericError(StrCat("'", device_name, "' and image file are not in the same chain"));
  }
  if (node.backing_reference().filename.empty()) {
    return GenericError("not allowing backing file change on an image without a backing file");
  }
  MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(change, image, Operation::kChange));
  BackingReference header{filename, node.backing_reference().format};
  if (std::optional<NodeView> below = BackingChainNext(node)) {
    header.format = std::string(below->driver_name());
  }
  change.SetHeader(image, std::move(header));
  return change.Commit();
}

CommandResult CoChangeBackingFile(BlockLayer& layer, const json::object& arguments)
    MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  const std::string device = reader.String("device");
  const std::string image = reader.String("image-node-name");
  MILLRACE_ASSIGN_OR_RETURN(const NodeId root, layer.FindDeviceOrNode(device));
  MILLRACE_ASSIGN_OR_RETURN(const NodeId node, layer.FindNode("", image));
  MILLRACE_ASSIGN_OR_RETURN(const AppliedEdit edit,
                            StageHeader(layer, root, node, device, reader.String("backing-file")));
  MILLRACE_RETURN_IF_ERROR(CoSyncBackingHeaders(layer.graph(), edit.headers, layer.monitor()));
  return json::object();
}

}  // namespace

void RegisterNodeCommands(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  commands.Register({.name = "blockdev-add",
                     .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
                       return CoBlockdevAdd(layer, arguments);
                     }});
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
}

}  // namespace millrace
