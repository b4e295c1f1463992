// --blockdev and --drive, and their plans for the human monitor's drive_add.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/drive_settings.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/snapshot_drive.h"
#include "examples/hypervisor/block/tree_options.h"
#include "examples/hypervisor/options/keyval.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_transaction.h"

namespace millrace {
namespace {

absl::StatusOr<NodeTree> ReadBlockdev(std::string_view text) {
  if (text == "help" || text == "?") return GenericError("Help is not available for this option");
  MILLRACE_ASSIGN_OR_RETURN(const OptionValue value, ParseKeyval(text, "driver"));
  ArgumentReader reader = value.Reader();
  MILLRACE_ASSIGN_OR_RETURN(NodeTree tree, ReadNodeTree(reader, TreeStyle::kBlockdev));
  if (tree.node_name.empty() && value.object.contains("node-name")) {
    return GenericError("Invalid node-name: ''");
  }
  if (tree.node_name.empty()) {
    return GenericError("'node-name' must be specified for the root node");
  }
  return tree;
}

absl::Status CoBlockdevOption(BlockLayer& layer, std::string_view text) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(NodeTree tree, ReadBlockdev(text));
  return layer.CoAddNode(std::move(tree));
}

PlanResult PlanBlockdev(BlockLayer& layer, std::string_view text) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(NodeTree tree, ReadBlockdev(text));
  return layer.PlanAddNode(std::move(tree));
}

// ---- --drive -----------------------------------------------------------------------------------

// What a machine has from its start has no name of its own.
std::string NextBuiltInPath(const BlockLayer& layer) {
  int count = 0;
  for (const std::unique_ptr<Drive>& drive : layer.drives()) {
    if (drive->device != nullptr && drive->device->path.starts_with("/machine/unattached/"))
      ++count;
  }
  return StrCat("/machine/unattached/device[", count, "]");
}

GuestDevice DeviceFor(BlockLayer& layer, const DriveSettings& settings) {
  GuestDevice device;
  const bool is_virtio = settings.interface == "virtio";
  device.driver = is_virtio ? "virtio-blk-pci" : settings.interface;
  device.can_resize = is_virtio || settings.interface == "scsi";
  device.is_removable = settings.is_cdrom || settings.interface == "floppy";
  device.has_tray = settings.is_cdrom;
  device.path = is_virtio ? layer.TakeAnonymousPath("/virtio-backend") : NextBuiltInPath(layer);
  return device;
}

// How many drives one bus of the interface takes; 0: there is one bus, for all.
int UnitsOf(std::string_view interface) {
  if (interface == "ide") return 2;
  return interface == "scsi" ? 7 : 0;
}

bool IsTaken(const BlockLayer& layer, const DrivePlace& place) {
  return std::any_of(layer.drives().begin(), layer.drives().end(),
                     [&](const std::unique_ptr<Drive>& drive) { return drive->place == place; });
}

absl::StatusOr<DrivePlace> PlaceFor(const BlockLayer& layer, const DriveSettings& settings) {
  const int units = UnitsOf(settings.interface);
  DrivePlace place = {settings.interface, settings.bus.value_or(0), settings.unit.value_or(0)};
  if (settings.index) {
    place.bus = units > 0 ? *settings.index / units : 0;
    place.unit = units > 0 ? *settings.index % units : *settings.index;
  } else if (!settings.unit) {
    while (IsTaken(layer, place)) {
      ++place.unit;
      if (units == 0 || place.unit < units) continue;
      place.unit = 0;
      ++place.bus;
    }
  }
  if (!IsTaken(layer, place)) return place;
  return GenericError(StrCat("drive with bus=", place.bus, ", unit=", place.unit,
                             " (index=", settings.index.value_or(-1), ") exists"));
}

// "virtio0", "ide1-cd0": what a drive is called that was not given an id.
std::string DefaultId(const DrivePlace& place, bool is_cdrom) {
  if (UnitsOf(place.interface) == 0) return StrCat(place.interface, place.unit);
  return StrCat(place.interface, place.bus, is_cdrom ? "-cd" : "-hd", place.unit);
}

// "format=help" asks for a list of the formats.
absl::Status CheckIsNoHelp(const json::object& options) {
  const json::value* format = options.if_contains("format");
  if (format == nullptr || !format->is_string()) return absl::OkStatus();
  const std::string_view asked = View(format->get_string());
  if (asked != "help" && asked != "?") return absl::OkStatus();
  std::string list;
  for (const std::string_view name : FormatNames()) StrAppend(&list, " ", name);
  return Help(StrCat("Supported formats:", list, "\nSupported formats (read-only):", list, "\n"));
}

// What is told of the drive as such, whether it has a medium or not.
bool IsOfDrive(std::string_view name, const json::value& value) {
  const bool is_emptied = name == "cache" && value.is_object() && value.get_object().empty();
  return is_emptied || name == "read-only" || name == "detect-zeroes";
}

bool NamesMedium(const DriveOptionValue& value) {
  if (value.filename && !value.filename->empty()) return true;
  const json::object& options = value.options.object;
  return std::any_of(options.begin(), options.end(), [](const auto& member) {
    return !IsOfDrive(View(member.key()), member.value());
  });
}

struct DriveRequest {
  DriveSettings settings;  // with an id
  DriveOptionValue value;
  DrivePlace place;
};

absl::StatusOr<DriveRequest> ReadDrive(const BlockLayer& layer, std::string_view text) {
  DriveRequest request;
  MILLRACE_ASSIGN_OR_RETURN(request.value, ParseDriveOptions(text));
  json::object& options = request.value.options.object;
  DriveSettings& settings = request.settings;
  MILLRACE_RETURN_IF_ERROR(CheckIsNoHelp(options));
  MILLRACE_ASSIGN_OR_RETURN(settings, TakeDriveSettings(options, request.value.cache_mode));
  MILLRACE_ASSIGN_OR_RETURN(request.place, PlaceFor(layer, settings));
  if (settings.id.empty()) settings.id = DefaultId(request.place, settings.is_cdrom);
  return request;
}

// Whether the medium that a drive without one gets will be read-only.
absl::StatusOr<bool> ReadEmptyDrive(const DriveRequest& request) {
  json::object own;
  if (const json::value* text = request.value.options.object.if_contains("read-only")) {
    own["read-only"] = *text;
  }
  ArgumentReader reader(own, ScalarStyle::kText);
  const bool is_read_only = reader.OptionalBool("read-only").value_or(false);
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  return is_read_only || request.settings.is_cdrom;
}

absl::StatusOr<NodeTree> ReadMedium(const DriveRequest& request) {
  const DriveSettings& settings = request.settings;
  const DriveOptionValue& value = request.value;
  if (!value.filename && !value.options.object.contains("driver") &&
      !value.options.object.contains("file")) {
    return GenericError("Must specify either driver or file");
  }
  const json::value* const file = value.options.object.if_contains("file");
  if (value.filename && file != nullptr && file->is_object() &&
      file->get_object().contains("filename")) {
    return GenericError("Can't specify 'file' and 'filename' options at the same time");
  }
  ArgumentReader reader = value.options.Reader();
  MILLRACE_ASSIGN_OR_RETURN(NodeTree tree, ReadNodeTree(reader, TreeStyle::kDrive));
  if (tree.node_name.empty() && value.options.object.contains("node-name")) {
    return GenericError("Invalid node-name: ''");
  }
  if (!tree.node_name.empty() && tree.node_name == settings.id) {
    return GenericError(
        StrCat("Device name '", settings.id, "' conflicts with an existing node name"));
  }
  if (value.filename) tree.filename = *value.filename;
  if (settings.is_cdrom || settings.is_snapshot) tree.is_read_only = true;
  return tree;
}

absl::StatusOr<Drive*> CoOpenDrive(BlockLayer& layer, const DriveRequest& request)
    MILLRACE_MAY_SUSPEND {
  const DriveSettings& settings = request.settings;
  if (!NamesMedium(request.value)) {
    MILLRACE_ASSIGN_OR_RETURN(const bool is_read_only, ReadEmptyDrive(request));
    return layer.AddEmptyDrive(settings.id, is_read_only);
  }
  MILLRACE_ASSIGN_OR_RETURN(NodeTree tree, ReadMedium(request));
  if (settings.is_snapshot) return CoAddSnapshotDrive(layer, settings.id, std::move(tree));
  return layer.CoAddDrive(settings.id, std::move(tree));
}

absl::Status CoDriveOption(BlockLayer& layer, std::string_view text) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const DriveRequest request, ReadDrive(layer, text));
  const DriveSettings& settings = request.settings;
  MILLRACE_ASSIGN_OR_RETURN(Drive* const drive, CoOpenDrive(layer, request));
  drive->goes_with_device = true;
  drive->place = request.place;
  drive->writes_through = settings.writes_through;
  drive->copies_on_read = settings.copies_on_read;
  drive->statistics.accounts_invalid = settings.accounts_invalid;
  for (const uint32_t seconds : settings.stats_intervals) {
    drive->statistics.AddInterval(seconds, layer.host().engine.clock().Now());
  }
  drive->statistics.accounts_failed = settings.accounts_failed;
  MILLRACE_RETURN_IF_ERROR(SetDriveThrottle(
      layer, *drive, settings.throttle_group.empty() ? drive->id : settings.throttle_group,
      settings.limits));
  if (settings.interface == "none") return absl::OkStatus();
  const bool has_medium = drive->backend.is_attached();
  if (!has_medium && !settings.is_cdrom && settings.interface != "floppy") {
    return GenericError("Device needs media, but drive is empty");
  }
  if (has_medium && settings.interface == "ide" && !settings.is_cdrom && drive->is_read_only) {
    return GenericError("Block node is read-only");
  }
  return layer.PlugIn(*drive, DeviceFor(layer, settings));
}

// ---- The plan of --drive if=none ----------------------------------------------------------------

// Its image has been opened, read-only; the drive stands on one above it.
PlanResult PlanSnapshotDrive(BlockLayer& layer, const DriveRequest& request, CommandPlan plan)
    MILLRACE_OPENS_VIEW {
  {
    GraphTransaction change(layer.graph());
    MILLRACE_ASSIGN_OR_RETURN(NodeTree tree, ReadMedium(request));
    MILLRACE_ASSIGN_OR_RETURN(StagedTree staged, layer.RehearseOpen(change, std::move(tree)));
    plan.unknown = std::move(staged.unknown);
  }
  MILLRACE_RETURN_IF_ERROR(layer.CheckDriveId(request.settings.id));
  plan.unknown.push_back("the graph above the image: a temporary one is made, if the host lets it");
  return plan;
}

PlanResult PlanDrive(BlockLayer& layer, std::string_view text) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const DriveRequest request, ReadDrive(layer, text));
  const std::string& id = request.settings.id;
  CommandPlan plan = PlanOfStep(StrCat("make drive '", id, "'"));
  if (!NamesMedium(request.value)) {
    MILLRACE_RETURN_IF_ERROR(ReadEmptyDrive(request).status());
    MILLRACE_RETURN_IF_ERROR(layer.CheckDriveId(id));
  } else {
    MILLRACE_RETURN_IF_ERROR(ReadMedium(request).status());
    if (request.settings.is_snapshot) return PlanSnapshotDrive(layer, request, std::move(plan));
    MILLRACE_RETURN_IF_ERROR(layer.CheckDriveId(id));
    Attachment backend;
    MILLRACE_ASSIGN_OR_RETURN(
        plan, layer.PlanOpenUnder([&] { return *ReadMedium(request); }, std::move(plan),
                                  [&](GraphTransaction& change, NodeId top) {
                                    backend = change.Attach(top, layer.DriveOptions(id));
                                  }));
  }
  MILLRACE_RETURN_IF_ERROR(request.settings.limits.Validate());
  return plan;
}

}  // namespace

void RegisterDriveOptions(BlockLayer& layer) {
  layer.host().options.Register("blockdev", [&layer](std::string_view text) MILLRACE_MAY_SUSPEND {
    return CoBlockdevOption(layer, text);
  });
  layer.host().options.Register("drive", [&layer](std::string_view text) MILLRACE_MAY_SUSPEND {
    return CoDriveOption(layer, text);
  });
  layer.host().options.SetPlanner("blockdev", [&layer](std::string_view text) MILLRACE_OPENS_VIEW {
    return PlanBlockdev(layer, text);
  });
  layer.host().options.SetPlanner("drive", [&layer](std::string_view text) MILLRACE_OPENS_VIEW {
    return PlanDrive(layer, text);
  });
}

}  // namespace millrace
