// blockdev-snapshot and blockdev-snapshot-sync: an overlay takes the place of a node, above it.
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/node_checks.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_node.h"
#include "millrace/graph/operation_claim.h"

namespace millrace {
namespace {

absl::Status CheckMaySnapshot(BlockLayer& layer, NodeId node) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(view, node, Operation::kSnapshot));
  MILLRACE_ASSIGN_OR_RETURN(const NodeView image, view.Resolve(node));
  return CheckIsNoBacking(image);
}

absl::Status CheckOverlay(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView overlay, view.Resolve(id));
  if (!overlay.cumulative_permissions().used.empty()) {
    return GenericError("The overlay is already in use");
  }
  if (overlay.is_filter()) return GenericError("Filters cannot be used as overlays");
  if (overlay.Backing()) return GenericError("The overlay already has a backing image");
  if (!overlay.supports_backing()) {
    return GenericError("The overlay does not support backing images");
  }
  return absl::OkStatus();
}

absl::Status Append(BlockLayer& layer, const DrainedSection& drained, NodeId overlay, NodeId node)
    MILLRACE_OPENS_VIEW {
  GraphTransaction change(layer.graph());
  change.Show(drained).OnBehalfOf(layer.monitor());
  // First all that stands on the node, then the overlay itself, which stays.
  change.ReplaceNode(node, overlay);
  change.SetBacking(overlay, node, std::nullopt);
  return change.Commit().status();
}

absl::Status CoAppend(BlockLayer& layer, NodeId overlay, NodeId node) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(
      DrainedSection drained,
      DrainedSection::CoBegin(layer.graph(), {node, overlay}, {layer.monitor()}));
  return Append(layer, drained, overlay, node);
}

// Nobody writes to what lies below an overlay. If it cannot become read-only, nothing is lost.
void CoEndWriting(BlockLayer& layer, NodeId node) MILLRACE_MAY_SUSPEND {
  CoSetReadOnly(layer.graph(), node, true, layer.monitor()).IgnoreError();
}

CommandResult CoSnapshot(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  const std::string node_name = reader.String("node");
  MILLRACE_ASSIGN_OR_RETURN(const NodeId overlay, layer.FindDeviceOrNode(reader.String("overlay")));
  MILLRACE_ASSIGN_OR_RETURN(const NodeId node, layer.FindDeviceOrNode(node_name));
  MILLRACE_RETURN_IF_ERROR(CheckMaySnapshot(layer, node));
  MILLRACE_RETURN_IF_ERROR(CheckOverlay(layer, overlay));
  MILLRACE_RETURN_IF_ERROR(CoAppend(layer, overlay, node));
  CoEndWriting(layer, node);
  return json::object();
}

// ---- blockdev-snapshot-sync --------------------------------------------------------------------

struct SnapshotRequest {
  NodeId node;
  std::string filename;
  std::string node_name;  // of the overlay
  std::string format;
  bool creates = true;
};

absl::StatusOr<CreateImageOptions> OverlayImage(BlockLayer& layer, const SnapshotRequest& request)
    MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.Resolve(request.node));
  CreateImageOptions image;
  image.path = request.filename;
  image.format = request.format;
  image.overwrites = true;
  image.qcow2.bytes = node.bytes();
  const NodeView base = SkipFilters(node);
  image.qcow2.backing_filename = base.filename();
  image.qcow2.backing_format = std::string(base.driver_name());
  return image;
}

absl::Status CoMakeOverlay(BlockLayer& layer, const SnapshotRequest& request) MILLRACE_MAY_SUSPEND {
  if (request.format == "raw") {
    return GenericError("Backing file not supported for file format 'raw'");
  }
  if (request.format != "qcow2") {
    return GenericError(StrCat("Unknown file format '", request.format, "'"));
  }
  MILLRACE_ASSIGN_OR_RETURN(const CreateImageOptions image, OverlayImage(layer, request));
  absl::Status status = CoCreateImage(layer.graph(), layer.registry(), image);
  if (!CarriesErrno(status)) return status;
  return GenericError(
      StrCat("Could not create '", request.filename, "': ", ErrnoText(ErrnoOf(status))));
}

absl::Status CoTakeSnapshot(BlockLayer& layer, const SnapshotRequest& request)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CheckMaySnapshot(layer, request.node));
  if (request.creates) MILLRACE_RETURN_IF_ERROR(CoMakeOverlay(layer, request));
  NodeTree tree;
  tree.driver = request.format;
  tree.node_name = request.node_name;
  tree.filename = request.filename;
  tree.is_plain_path = true;
  tree.children.push_back({"backing", "", nullptr});
  MILLRACE_ASSIGN_OR_RETURN(Attachment overlay, layer.CoOpen(std::move(tree)));
  absl::Status status = CheckOverlay(layer, overlay.node());
  if (status.ok()) status = CoAppend(layer, overlay.node(), request.node);
  if (status.ok()) CoEndWriting(layer, request.node);
  // Whoever stood on the node keeps the overlay now.
  overlay.CoDetach();
  return status;
}

CommandResult CoSnapshotSync(BlockLayer& layer, const json::object& arguments)
    MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  const std::string device = reader.OptionalString("device").value_or("");
  const std::optional<std::string> node_name = reader.OptionalString("node-name");
  SnapshotRequest request;
  MILLRACE_ASSIGN_OR_RETURN(request.node, layer.FindNode(device, node_name.value_or("")));
  request.filename = reader.String("snapshot-file");
  request.node_name = reader.OptionalString("snapshot-node-name").value_or("");
  request.format = reader.OptionalString("format").value_or("qcow2");
  request.creates = reader.OptionalString("mode").value_or("absolute-paths") != "existing";
  if (node_name && request.node_name.empty()) {
    return GenericError("New overlay node-name missing");
  }
  if (!request.node_name.empty() && layer.FindNode("", request.node_name).ok()) {
    return GenericError("New overlay node-name already in use");
  }
  MILLRACE_RETURN_IF_ERROR(CoTakeSnapshot(layer, request));
  return json::object();
}

}  // namespace

void RegisterSnapshotCommands(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  commands.Register({.name = "blockdev-snapshot",
                     .arguments = {{{"node"}, {"overlay"}}},
                     .handler = [&layer](const json::object& arguments)
                                    MILLRACE_MAY_SUSPEND { return CoSnapshot(layer, arguments); }});
  commands.Register(
      {.name = "blockdev-snapshot-sync",
       .arguments = {{{"device", ArgumentType::kString, true},
                      {"node-name", ArgumentType::kString, true},
                      {"snapshot-file"},
                      {"snapshot-node-name", ArgumentType::kString, true},
                      {"format", ArgumentType::kString, true},
                      {"mode", ArgumentType::kEnum, true, {"existing", "absolute-paths"}}}},
       .handler = [&layer](const json::object& arguments)
                      MILLRACE_MAY_SUSPEND { return CoSnapshotSync(layer, arguments); }});
}

}  // namespace millrace
