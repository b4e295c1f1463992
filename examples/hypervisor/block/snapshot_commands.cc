#include "examples/hypervisor/block/snapshot_commands.h"

#include <sys/stat.h>

#include <cerrno>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/driver_schemas.h"
#include "examples/hypervisor/block/image_creation.h"
#include "examples/hypervisor/block/node_checks.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/refusal.h"
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
#include "millrace/graph/open_tree.h"
#include "millrace/graph/operation_claim.h"

namespace millrace {
namespace {

constexpr std::string_view kOtherOverlay =
    "add an image of a format with backing files, with \"backing\": null, and use that";

std::string NameOf(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> node = view.Resolve(id);
  return node.ok() ? node->name() : std::string();
}

absl::Status RefuseBelow(BlockLayer& layer, const PreparedSnapshot& earlier) MILLRACE_OPENS_VIEW {
  const std::string name = NameOf(layer, earlier.node);
  return Refuse({.reason = ConflictReason::kNodeInUse,
                 .object = name,
                 .holders = {{.id = earlier.overlay_name, .type = "node", .as = "backing"}},
                 .next_step = StrCat("name '", earlier.overlay_name, "', or the drive")},
                StrCat("Node '", name, "' is busy: node is used as backing hd of '",
                       earlier.overlay_name, "'"));
}

absl::Status CheckMaySnapshot(BlockLayer& layer, NodeId node) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView image, view.Resolve(node));
  return CheckIsFree(image, Operation::kSnapshot);
}

// Where an overlay goes.
struct SnapshotPlace {
  NodeId node;
  std::string planned_base;  // SnapshotRequest's, as the next
  bool is_new_overlay = false;
};

absl::StatusOr<SnapshotPlace> FindPlace(BlockLayer& layer, const EarlierSnapshots& earlier,
                                        const std::string& device, const std::string& node_name)
    MILLRACE_OPENS_VIEW {
  for (const PreparedSnapshot& each : earlier) {
    if (each.overlay.is_valid() || each.overlay_name.empty()) continue;
    if (each.overlay_name == node_name) return SnapshotPlace{each.node, node_name};
  }
  SnapshotPlace place;
  MILLRACE_ASSIGN_OR_RETURN(place.node, layer.FindNode(device, node_name));
  const bool is_drive = !device.empty() && layer.FindDrive(device) != nullptr;
  for (const PreparedSnapshot& each : earlier) {
    if (each.node != place.node) continue;
    if (!is_drive) return RefuseBelow(layer, each);
    if (each.overlay.is_valid()) {
      place.node = each.overlay;
    } else {
      place.planned_base = each.overlay_name;
    }
  }
  for (const PreparedSnapshot& each : earlier) {
    if (each.overlay.is_valid() && each.overlay == place.node) place.is_new_overlay = true;
  }
  return place;
}

absl::Status CheckOverlay(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView overlay, view.Resolve(id));
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
  if (request.is_on_new_overlay) {
    // It was opened without its backing, and would tell of itself as of an image that has none.
    const std::optional<NodeView> file = base.Child(Role::kPrimary);
    if (file) image.qcow2.backing_filename = file->filename();
  }
  image.qcow2.backing_format = std::string(base.driver_name());
  return image;
}

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

absl::Status CheckOverlayImage(const CreateImageOptions& image) {
  if (image.path != image.qcow2.backing_filename) return absl::OkStatus();
  return GenericError(
      "Error: Trying to create an image with the same filename as the backing file");
}

absl::Status CoMakeOverlay(BlockLayer& layer, const SnapshotRequest& request) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const CreateImageOptions image, OverlayImage(layer, request));
  MILLRACE_RETURN_IF_ERROR(CheckOverlayImage(image));
  absl::Status status = CoFormatImage(layer, image);
  if (!CarriesErrno(status)) return status;
  if (ErrnoOf(status) == EAGAIN) {
    return WithConflictOf(GenericError("Failed to get \"write\" lock"), status);
  }
  return GenericError(
      StrCat("Could not create '", request.filename, "': ", ErrnoText(ErrnoOf(status))));
}

// QEMU does not reopen quorums.
bool MayBecomeReadOnly(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> node = view.Resolve(id);
  return node.ok() && node->driver_name() != "quorum";
}

bool IsReadOnly(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> node = view.Resolve(id);
  return node.ok() && node->is_read_only();
}

// A file of its own, that is: a folder or a device is none to overwrite.
bool IsThere(const std::string& filename) {
  struct stat info {};
  return stat(filename.c_str(), &info) == 0 && S_ISREG(info.st_mode);
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

absl::StatusOr<PreparedSnapshot> CoOpenOverlay(BlockLayer& layer, SnapshotRequest request)
    MILLRACE_MAY_SUSPEND {
  request.is_read_only = IsReadOnly(layer, request.node);
  const bool has_name = request.name_error.ok();
  // A file that stands there is not to be overwritten for a name that no node can have.
  if (!has_name && request.creates && IsThere(request.filename)) return request.name_error;
  if (request.creates) MILLRACE_RETURN_IF_ERROR(CoMakeOverlay(layer, request));
  PreparedSnapshot prepared;
  MILLRACE_ASSIGN_OR_RETURN(prepared.hold, layer.CoOpen(OverlayTree(request)));
  prepared.node = request.node;
  prepared.overlay = prepared.hold.node();
  prepared.overlay_name = NameOf(layer, prepared.overlay);
  absl::Status status = has_name ? CheckOverlay(layer, prepared.overlay) : request.name_error;
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
  MILLRACE_RETURN_IF_ERROR(CoTake(layer, PrepareSnapshot(layer, reader)));
  return json::object();
}

CommandResult CoSnapshotSync(BlockLayer& layer, const json::object& arguments)
    MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  MILLRACE_RETURN_IF_ERROR(CoTake(layer, CoPrepareSnapshotSync(layer, reader)));
  return json::object();
}

}  // namespace

absl::StatusOr<PreparedSnapshot> PrepareSnapshot(BlockLayer& layer, ArgumentReader& reader,
                                                 const EarlierSnapshots& earlier) {
  const std::string node_name = reader.String("node");
  const std::string overlay_name = reader.String("overlay");
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  PreparedSnapshot prepared;
  MILLRACE_ASSIGN_OR_RETURN(const SnapshotPlace place,
                            FindPlace(layer, earlier, node_name, node_name));
  prepared.node = place.node;
  MILLRACE_RETURN_IF_ERROR(CheckMaySnapshot(layer, prepared.node));
  MILLRACE_ASSIGN_OR_RETURN(prepared.overlay, layer.FindDeviceOrNode(overlay_name));
  prepared.overlay_name = NameOf(layer, prepared.overlay);
  MILLRACE_RETURN_IF_ERROR(CheckOverlay(layer, prepared.overlay));
  return prepared;
}

absl::StatusOr<SnapshotRequest> ReadSnapshotSync(BlockLayer& layer, ArgumentReader& reader,
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
  MILLRACE_ASSIGN_OR_RETURN(SnapshotPlace place,
                            FindPlace(layer, earlier, device, node_name.value_or("")));
  request.node = place.node;
  request.planned_base = std::move(place.planned_base);
  request.is_on_new_overlay = place.is_new_overlay;
  MILLRACE_RETURN_IF_ERROR(CheckMaySnapshot(layer, request.node));
  if (node_name && !name) return GenericError("New overlay node-name missing");
  if (!request.node_name.empty() && layer.FindDeviceOrNode(request.node_name).ok()) {
    return Refuse(ConflictReason::kDuplicateNodeName, request.node_name,
                  "New overlay node-name already in use", "choose another name");
  }
  MILLRACE_RETURN_IF_ERROR(CheckFormat(request));
  request.name_error = CheckNewName(layer, name);
  return request;
}

absl::StatusOr<PreparedSnapshot> CoPrepareSnapshotSync(BlockLayer& layer, ArgumentReader& reader,
                                                       const EarlierSnapshots& earlier) {
  MILLRACE_ASSIGN_OR_RETURN(SnapshotRequest request, ReadSnapshotSync(layer, reader, earlier));
  return CoOpenOverlay(layer, std::move(request));
}

absl::Status PlanSnapshotSync(BlockLayer& layer, const SnapshotRequest& request,
                              CommandPlan* plan) {
  MILLRACE_RETURN_IF_ERROR(request.name_error);
  if (request.creates && request.planned_base.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(const CreateImageOptions image, OverlayImage(layer, request));
    MILLRACE_RETURN_IF_ERROR(CheckOverlayImage(image));
    MILLRACE_RETURN_IF_ERROR(CheckCreateImage(layer.registry(), image));
  }
  const std::string overlay = request.node_name.empty() ? std::string("(new)") : request.node_name;
  if (request.creates) plan->steps.push_back(StrCat("create '", request.filename, "'"));
  plan->steps.push_back(StrCat("open '", request.filename, "' as '", overlay, "'"));
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.Resolve(request.node));
  const std::string& base = request.planned_base.empty() ? node.name() : request.planned_base;
  plan->steps.push_back(StrCat("put '", overlay, "' above '", base, "'"));
  plan->before = ChainBelow(view, request.node);
  plan->after = StrCat(overlay, " <- ", plan->before);
  return absl::OkStatus();
}

namespace {

// The overlays of a plan, staged one after another.
class OverlayStager {
 public:
  OverlayStager(BlockLayer& layer, GraphTransaction& change) : layer_(layer), change_(change) {}

  absl::Status Stage(const PlannedSnapshot& planned) {
    NodeId overlay = planned.prepared.overlay;
    NodeId node = planned.prepared.node;
    if (planned.request) {
      const SnapshotRequest& request = *planned.request;
      if (const auto found = by_name_.find(request.planned_base); found != by_name_.end()) {
        node = found->second;
      }
      MILLRACE_ASSIGN_OR_RETURN(const NodeView image, change_.Resolve(node));
      NodeTree tree = OverlayTree(request);
      tree.is_read_only = image.is_read_only();
      MILLRACE_ASSIGN_OR_RETURN(
          StagedTree staged,
          StageTree(change_, layer_.registry(), std::move(tree), layer_.open_options()));
      overlay = staged.top;
      if (!overlay.is_valid()) return absl::OkStatus();  // its format is always given
      if (!request.node_name.empty()) by_name_[request.node_name] = overlay;
      Note(request, std::move(staged));
    }
    StageSnapshot(change_, overlay, node);
    below_.push_back(node);
    return absl::OkStatus();
  }

  // What CoApplySnapshots() does when all overlays are in their places.
  void StageFollowUp(bool with_read_only) {
    for (const NodeId node : below_) {
      const absl::StatusOr<NodeView> image = change_.Resolve(node);
      if (!image.ok() || !with_read_only || image->driver_name() == "quorum") continue;
      if (!image->is_read_only()) StageReadOnly(change_, node, true);
    }
    for (Attachment& hold : holds_) change_.Detach(hold);
  }

  std::vector<std::string>& unknown() { return unknown_; }

 private:
  void Note(const SnapshotRequest& request, StagedTree staged) {
    holds_.push_back(std::move(staged.hold));
    if (request.creates) {
      staged.unknown = {StrCat("whether '", request.filename, "' can be made, opened and locked")};
    }
    for (std::string& fact : staged.unknown) unknown_.push_back(std::move(fact));
  }

  BlockLayer& layer_;
  GraphTransaction& change_;
  std::map<std::string, NodeId> by_name_;
  std::vector<NodeId> below_;
  std::vector<Attachment> holds_;
  std::vector<std::string> unknown_;
};

PlanResult PlanApplyWith(BlockLayer& layer, const std::vector<PlannedSnapshot>& snapshots,
                         CommandPlan plan, bool with_read_only) MILLRACE_OPENS_VIEW {
  GraphTransaction change(layer.graph());
  OverlayStager stager(layer, change);
  for (const PlannedSnapshot& each : snapshots) MILLRACE_RETURN_IF_ERROR(stager.Stage(each));
  stager.StageFollowUp(with_read_only);
  for (std::string& fact : stager.unknown()) plan.unknown.push_back(std::move(fact));
  return PlanOfEdit(change, std::move(plan));
}

}  // namespace

PlanResult PlanApply(BlockLayer& layer, const std::vector<PlannedSnapshot>& snapshots,
                     CommandPlan plan) {
  for (const PlannedSnapshot& each : snapshots) {
    if (!each.request) continue;
    GraphTransaction change(layer.graph());
    MILLRACE_RETURN_IF_ERROR(layer.RehearseOpen(change, OverlayTree(*each.request)).status());
  }
  MILLRACE_RETURN_IF_ERROR(PlanApplyWith(layer, snapshots, plan, false).status());
  // What cannot become read-only stays as it is; nothing is lost.
  PlanResult whole = PlanApplyWith(layer, snapshots, plan, true);
  return whole.ok() ? whole : PlanApplyWith(layer, snapshots, std::move(plan), false);
}

absl::Status CoApplySnapshots(BlockLayer& layer, std::vector<PreparedSnapshot> snapshots) {
  absl::Status status = CoAppend(layer, snapshots);
  for (const PreparedSnapshot& snapshot : snapshots) {
    // Nobody writes to what lies below an overlay. If it cannot become read-only, nothing is lost.
    if (!status.ok()) break;
    if (!MayBecomeReadOnly(layer, snapshot.node)) continue;
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
  CommandTable& commands = layer.host().commands;
  commands.SetPlanner(
      "blockdev-snapshot-sync",
      [&layer](const json::object& given) MILLRACE_OPENS_VIEW -> PlanResult {
        ArgumentReader reader(given);
        std::vector<PlannedSnapshot> planned(1);
        MILLRACE_ASSIGN_OR_RETURN(planned[0].request, ReadSnapshotSync(layer, reader));
        planned[0].prepared.node = planned[0].request->node;
        CommandPlan plan;
        MILLRACE_RETURN_IF_ERROR(PlanSnapshotSync(layer, *planned[0].request, &plan));
        return PlanApply(layer, planned, std::move(plan));
      });
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
