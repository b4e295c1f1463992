#include "examples/hypervisor/block/snapshot_commands.h"

#include <sys/stat.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/driver_schemas.h"
#include "examples/hypervisor/block/image_creation.h"
#include "examples/hypervisor/block/node_checks.h"
#include "examples/hypervisor/block/refusal.h"
#include "examples/hypervisor/block/snapshot_plans.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/io/open_gate.h"
#include "millrace/graph/open_node.h"
#include "millrace/graph/operation_claim.h"

namespace millrace {
namespace {

constexpr std::string_view kOtherOverlay =
    "add an image of a format with backing files, with \"backing\": null, and use that";

absl::Status RefuseBelow(const GraphReader& at, const PreparedSnapshot& earlier) {
  const std::string name = NodeNameAt(at, earlier.node);
  return Refuse({.reason = ConflictReason::kNodeInUse,
                 .object = name,
                 .holders = {{.id = earlier.overlay_name, .type = "node", .as = "backing"}},
                 .next_step = StrCat("name '", earlier.overlay_name, "', or the drive")},
                StrCat("Node '", name, "' is busy: node is used as backing hd of '",
                       earlier.overlay_name, "'"));
}

absl::Status CheckMaySnapshot(const GraphReader& at, NodeId node) {
  MILLRACE_ASSIGN_OR_RETURN(const NodeView image, at.Resolve(node));
  return CheckIsFree(image, Operation::kSnapshot);
}

// Where an overlay goes.
struct SnapshotPlace {
  NodeId node;
  bool is_new_overlay = false;
};

absl::StatusOr<SnapshotPlace> FindPlace(const BlockLayer& layer, const GraphReader& at,
                                        const EarlierSnapshots& earlier, const std::string& device,
                                        const std::string& node_name) {
  SnapshotPlace place;
  MILLRACE_ASSIGN_OR_RETURN(place.node, layer.FindNode(at, device, node_name));
  const bool is_drive = !device.empty() && layer.FindDrive(device) != nullptr;
  for (const PreparedSnapshot& each : earlier) {
    if (each.node != place.node) continue;
    if (!is_drive) return RefuseBelow(at, each);
    place.node = each.overlay;
  }
  for (const PreparedSnapshot& each : earlier) {
    if (each.overlay == place.node) place.is_new_overlay = true;
  }
  return place;
}

absl::Status CheckOverlay(BlockLayer& layer, const GraphReader& at, NodeId id) {
  MILLRACE_ASSIGN_OR_RETURN(const NodeView overlay, at.Resolve(id));
  // Whoever only writes to it, as a mirror to its target, does not mind what shines through.
  if (overlay.cumulative_permissions().used.Contains(kConsistentRead)) {
    return RefuseForHolders(ConflictReason::kNodeInUse, overlay.name(),
                            overlay.users(layer.monitor()), "The overlay is already in use");
  }
  if (overlay.is_filter()) {
    return Refuse(ConflictReason::kIsFilter, overlay.name(), "Filters cannot be used as overlays",
                  kOtherOverlay);
  }
  if (overlay.Backing()) {
    return Refuse(ConflictReason::kHasBacking, overlay.name(),
                  "The overlay already has a backing image", kOtherOverlay);
  }
  if (!overlay.supports_backing()) {
    return Refuse(ConflictReason::kUnsupportedByDriver, overlay.name(),
                  "The overlay does not support backing images", kOtherOverlay);
  }
  return absl::OkStatus();
}

}  // namespace

void StageSnapshot(GraphTransaction& change, NodeId overlay, NodeId node) {
  // First all that stands on the node, then the overlay itself, which stays.
  change.ReplaceNode(node, overlay);
  change.SetBacking(overlay, node, std::nullopt);
}

namespace {

absl::Status Append(BlockLayer& layer, const DrainedSection& drained,
                    const std::vector<PreparedSnapshot>& snapshots) MILLRACE_OPENS_VIEW {
  GraphTransaction change(layer.graph());
  change.Show(drained).OnBehalfOf(layer.monitor());
  for (const PreparedSnapshot& snapshot : snapshots) {
    StageSnapshot(change, snapshot.overlay, snapshot.node);
  }
  return change.Commit().status();
}

absl::Status CoAppend(BlockLayer& layer, const std::vector<PreparedSnapshot>& snapshots)
    MILLRACE_MAY_SUSPEND {
  std::vector<NodeId> nodes;
  for (const PreparedSnapshot& snapshot : snapshots) {
    nodes.push_back(snapshot.node);
    nodes.push_back(snapshot.overlay);
  }
  MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                            DrainedSection::CoBegin(layer.graph(), nodes, {layer.monitor()}));
  return Append(layer, drained, snapshots);
}

// ---- blockdev-snapshot-sync --------------------------------------------------------------------

// Of names with a protocol in front; images are made in files.
absl::Status CheckProtocol(std::string_view filename) {
  const std::string_view protocol = filename.substr(0, filename.find(':'));
  if (!NamesProtocol(filename) || protocol == "file") return absl::OkStatus();
  for (const char* known : {"blkdebug", "blkverify", "null-co", "null-aio"}) {
    if (protocol != known) continue;
    return GenericError(StrCat("Protocol driver '", protocol, "' does not support image creation"));
  }
  return GenericError(StrCat("Unknown protocol '", protocol, "'"));
}

absl::Status CheckFormat(const SnapshotRequest& request) {
  if (!request.creates) return absl::OkStatus();
  if (request.format == "qcow2") return CheckProtocol(request.filename);
  if (request.format == "raw" || request.format == "file") {
    return GenericError(
        StrCat("Backing file not supported for file format '", request.format, "'"));
  }
  if (FindDriverSchema(request.format) != nullptr) {
    return GenericError(
        StrCat("Format driver '", request.format, "' does not support image creation"));
  }
  return GenericError(StrCat("Unknown file format '", request.format, "'"));
}

absl::Status CheckNewName(const BlockLayer& layer, const std::optional<std::string>& name) {
  if (!name) return absl::OkStatus();
  if (!IsIdentifier(*name)) return GenericError(StrCat("Invalid node-name: '", *name, "'"));
  constexpr size_t kNodeNameBytesMax = 31;
  if (name->size() > kNodeNameBytesMax) return GenericError("Node name too long");
  if (layer.FindDrive(*name) == nullptr) return absl::OkStatus();
  return Refuse({.reason = ConflictReason::kNodeNameIsDevice,
                 .object = *name,
                 .holders = {{.id = *name, .type = "block device"}},
                 .next_step = "choose another name"},
                StrCat("node-name=", *name, " is conflicting with a device id"));
}

absl::StatusOr<CreateImageOptions> OverlayImageNow(BlockLayer& layer,
                                                   const SnapshotRequest& request)
    MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  return OverlayImage(view, request);
}

absl::StatusOr<SnapshotRequest> ReadSnapshotSyncNow(BlockLayer& layer, ArgumentReader& reader,
                                                    const EarlierSnapshots& earlier)
    MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  return ReadSnapshotSync(layer, view, reader, earlier);
}

absl::Status CoMakeOverlay(BlockLayer& layer, const SnapshotRequest& request) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const CreateImageOptions image, OverlayImageNow(layer, request));
  absl::Status status = CoFormatImage(layer, image);
  if (!CarriesErrno(status)) return status;
  if (ErrnoOf(status) == EAGAIN) {
    return WithConflictOf(GenericError("Failed to get \"write\" lock"), status);
  }
  return GenericError(
      StrCat("Could not create '", request.filename, "': ", ErrnoText(ErrnoOf(status))));
}

bool BecomesReadOnlyNow(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  const absl::StatusOr<NodeView> node = view.Resolve(id);
  return node.ok() && BecomesReadOnly(*node);
}

// A file of its own, that is: a folder or a device is none to overwrite.
bool IsThere(const std::string& filename) {
  struct stat info {};
  return stat(filename.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

// What the graph tells of the overlay now that it is open.
absl::Status LookAtNewOverlay(BlockLayer& layer, const SnapshotRequest& request,
                              PreparedSnapshot* prepared) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  prepared->overlay_name = NodeNameAt(view, prepared->overlay);
  return CheckNewOverlay(layer, view, request, prepared->overlay);
}

absl::StatusOr<PreparedSnapshot> CoOpenOverlay(BlockLayer& layer, const SnapshotRequest& request)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CheckNameOfOverlay(request));
  if (request.creates) MILLRACE_RETURN_IF_ERROR(CoMakeOverlay(layer, request));
  PreparedSnapshot prepared;
  MILLRACE_ASSIGN_OR_RETURN(prepared.hold, layer.CoOpen(OverlayTree(request)));
  prepared.node = request.node;
  prepared.overlay = prepared.hold.node();
  absl::Status status = LookAtNewOverlay(layer, request, &prepared);
  if (status.ok()) return prepared;
  prepared.hold.CoDetach();
  return status;
}

absl::Status CoTake(BlockLayer& layer, absl::StatusOr<PreparedSnapshot> prepared)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(prepared.status());
  std::vector<PreparedSnapshot> one;
  one.push_back(*std::move(prepared));
  return CoApplySnapshots(layer, std::move(one));
}

CommandResult CoSnapshot(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  MILLRACE_RETURN_IF_ERROR(CoTake(layer, PrepareSnapshotNow(layer, reader)));
  return json::object();
}

CommandResult CoSnapshotSync(BlockLayer& layer, const json::object& arguments)
    MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  MILLRACE_RETURN_IF_ERROR(CoTake(layer, CoPrepareSnapshotSync(layer, reader)));
  return json::object();
}

}  // namespace

absl::StatusOr<PreparedSnapshot> PrepareSnapshot(BlockLayer& layer, const GraphReader& at,
                                                 ArgumentReader& reader,
                                                 const EarlierSnapshots& earlier) {
  const std::string node_name = reader.String("node");
  const std::string overlay_name = reader.String("overlay");
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  PreparedSnapshot prepared;
  MILLRACE_ASSIGN_OR_RETURN(const SnapshotPlace place,
                            FindPlace(layer, at, earlier, node_name, node_name));
  prepared.node = place.node;
  MILLRACE_RETURN_IF_ERROR(CheckMaySnapshot(at, prepared.node));
  MILLRACE_ASSIGN_OR_RETURN(prepared.overlay, layer.FindNode(at, overlay_name, overlay_name));
  prepared.overlay_name = NodeNameAt(at, prepared.overlay);
  MILLRACE_RETURN_IF_ERROR(CheckOverlay(layer, at, prepared.overlay));
  for (const PreparedSnapshot& each : earlier) {
    if (each.overlay != prepared.overlay) continue;
    return Refuse(ConflictReason::kNodeInUse, overlay_name, "The overlay is already in use",
                  "name another overlay: an earlier action has this one");
  }
  return prepared;
}

absl::StatusOr<SnapshotRequest> ReadSnapshotSync(BlockLayer& layer, const GraphReader& at,
                                                 ArgumentReader& reader,
                                                 const EarlierSnapshots& earlier) {
  constexpr std::string_view kModes[] = {"existing", "absolute-paths"};
  const std::string device = reader.OptionalString("device").value_or("");
  const std::optional<std::string> node_name = reader.OptionalString("node-name");
  SnapshotRequest request;
  request.filename = reader.String("snapshot-file");
  const std::optional<std::string> name = reader.OptionalString("snapshot-node-name");
  request.node_name = name.value_or("");
  request.format = reader.OptionalString("format").value_or("qcow2");
  request.creates = reader.OptionalEnum("mode", kModes).value_or(1) == 1;
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  MILLRACE_ASSIGN_OR_RETURN(const SnapshotPlace place,
                            FindPlace(layer, at, earlier, device, node_name.value_or("")));
  request.node = place.node;
  request.is_on_new_overlay = place.is_new_overlay;
  MILLRACE_RETURN_IF_ERROR(CheckMaySnapshot(at, request.node));
  if (node_name && !name) return GenericError("New overlay node-name missing");
  if (!request.node_name.empty() && layer.FindNode(at, request.node_name, request.node_name).ok()) {
    return Refuse(ConflictReason::kDuplicateNodeName, request.node_name,
                  "New overlay node-name already in use", "choose another name");
  }
  MILLRACE_RETURN_IF_ERROR(CheckFormat(request));
  request.name_error = CheckNewName(layer, name);
  const absl::StatusOr<NodeView> node = at.Resolve(request.node);
  request.is_read_only = node.ok() && node->is_read_only();
  return request;
}

std::string NodeNameAt(const GraphReader& at, NodeId id) {
  const absl::StatusOr<NodeView> node = at.Resolve(id);
  return node.ok() ? node->name() : std::string();
}

absl::StatusOr<PreparedSnapshot> PrepareSnapshotNow(BlockLayer& layer, ArgumentReader& reader,
                                                    const EarlierSnapshots& earlier) {
  GraphView view(layer.graph());
  return PrepareSnapshot(layer, view, reader, earlier);
}

absl::Status CheckNameOfOverlay(const SnapshotRequest& request) {
  // A file that stands there is not to be overwritten for a name that no node can have.
  if (!request.name_error.ok() && request.creates && IsThere(request.filename)) {
    return request.name_error;
  }
  return absl::OkStatus();
}

absl::StatusOr<CreateImageOptions> OverlayImage(const GraphReader& at,
                                                const SnapshotRequest& request) {
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, at.Resolve(request.node));
  CreateImageOptions image;
  image.path = request.filename;
  image.format = request.format;
  image.overwrites = true;
  image.qcow2.bytes = node.bytes();
  const NodeView base = SkipFilters(node);
  image.qcow2.backing_filename = base.filename();
  if (request.is_on_new_overlay) {
    // It was opened without its backing, and would tell of itself as of an image that has none.
    const std::optional<NodeView> file = base.Child(Role::kPrimary);
    if (file) image.qcow2.backing_filename = file->filename();
  }
  image.qcow2.backing_format = std::string(base.driver_name());
  if (image.path != image.qcow2.backing_filename) return image;
  return GenericError(
      "Error: Trying to create an image with the same filename as the backing file");
}

NodeTree OverlayTree(const SnapshotRequest& request) {
  NodeTree tree;
  tree.driver = request.format;
  if (request.name_error.ok()) tree.node_name = request.node_name;
  tree.filename = request.filename;
  // The name of an image that is there may be any name.
  tree.is_plain_path = request.creates;
  tree.is_read_only = request.is_read_only;
  tree.children.push_back({"backing", "", nullptr});
  return tree;
}

absl::Status CheckNewOverlay(BlockLayer& layer, const GraphReader& at,
                             const SnapshotRequest& request, NodeId overlay) {
  return request.name_error.ok() ? CheckOverlay(layer, at, overlay) : request.name_error;
}

bool BecomesReadOnly(const NodeView& node) { return node.driver_name() != "quorum"; }

absl::StatusOr<PreparedSnapshot> CoPrepareSnapshotSync(BlockLayer& layer, ArgumentReader& reader,
                                                       const EarlierSnapshots& earlier) {
  MILLRACE_ASSIGN_OR_RETURN(const SnapshotRequest request,
                            ReadSnapshotSyncNow(layer, reader, earlier));
  return CoOpenOverlay(layer, request);
}

absl::Status CoApplySnapshots(BlockLayer& layer, std::vector<PreparedSnapshot> snapshots) {
  absl::Status status = CoAppend(layer, snapshots);
  for (const PreparedSnapshot& snapshot : snapshots) {
    // Nobody writes to what lies below an overlay. If it cannot become read-only, nothing is lost.
    if (!status.ok()) break;
    if (!BecomesReadOnlyNow(layer, snapshot.node)) continue;
    CoSetReadOnly(layer.graph(), snapshot.node, true, layer.monitor()).IgnoreError();
  }
  // Whoever stood on the nodes keeps the overlays now.
  CoDropSnapshots(std::move(snapshots));
  return status;
}

void CoDropSnapshots(std::vector<PreparedSnapshot> snapshots) {
  for (PreparedSnapshot& snapshot : snapshots) {
    if (snapshot.hold.is_attached()) snapshot.hold.CoDetach();
  }
}

void RegisterSnapshotCommands(BlockLayer& layer) {
  SetSnapshotPlanners(layer);
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
