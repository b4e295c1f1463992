// device_add, the human monitor's as well, device_del, and --device: guest devices. They do no I/O
// of their own; they take permissions on a drive, and give it a place in the guest.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/device_properties.h"
#include "examples/hypervisor/block/graph_users.h"
#include "examples/hypervisor/block/human_tools.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/refusal.h"
#include "examples/hypervisor/options/keyval.h"
#include "examples/hypervisor/qmp/json_fields.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

struct DeviceModel {
  std::string_view name;
  std::string_view backend_suffix;  // of the part that has the drive, in the object tree
  bool can_resize = false;
  bool is_removable = false;
  std::string_view bus = "PCI";
  std::string_view owner = {};      // of the property "drive", where that is another part
  std::string_view fixed_bus = {};  // where it sits, if it can only be there from the start
  bool needs_write = false;
};

constexpr DeviceModel kModels[] = {
    {"virtio-blk", "/virtio-backend", true, false, "PCI", "virtio-blk-device"},
    {"virtio-blk-pci", "/virtio-backend", true, false, "PCI", "virtio-blk-device"},
    {"virtio-blk-ccw", "/virtio-backend", true, false, "PCI", "virtio-blk-device"},
    {"virtio-blk-device", "", true, false, "virtio-bus"},
    {"scsi-hd", "", true, false, "SCSI"},
    {"scsi-cd", "", false, true, "SCSI"},
    {"ide-hd", "", false, false, "IDE", "", "ide.1", true},
    {"ide-cd", "", false, true, "IDE", "", "ide.1"},
    {"nvme", "", true, false, "PCI"},
    {"usb-storage", "", true, false, "usb-bus"},
    {"floppy", "", false, true, "floppy-bus", "", "floppy-bus.0"},
};

struct ControllerModel {
  std::string_view name;
  std::string_view bus;  // of the devices on it
  bool has_backend = false;
  std::string_view fixed_bus = {};  // where it sits, if it can only be there from the start
};

constexpr ControllerModel kControllers[] = {{"virtio-scsi", "SCSI", true},
                                            {"virtio-scsi-pci", "SCSI", true},
                                            {"virtio-scsi-ccw", "SCSI", true},
                                            {"virtio-scsi-device", "SCSI"},
                                            {"ahci", "IDE"},
                                            {"ich9-ahci", "IDE"},
                                            {"lsi53c895a", "SCSI"},
                                            {"lsi", "SCSI"},
                                            {"pci-bridge", "PCI"},
                                            {"pcie-root-port", "PCI", false, "pcie.0"},
                                            {"qemu-xhci", "usb-bus"},
                                            {"nec-usb-xhci", "usb-bus"}};

std::string_view OwnerOfDrive(const DeviceModel& model) {
  return model.owner.empty() ? model.name : model.owner;
}

// ---- --device help -----------------------------------------------------------------------------

constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
    {"virtio-blk", "virtio-blk-pci"},
    {"virtio-scsi", "virtio-scsi-pci"},
    {"ahci", "ich9-ahci"},
    {"lsi", "lsi53c895a"},
};

// Where the model itself sits; `own` is what a disk says of it.
std::string_view BusUnder(std::string_view model, std::string_view own) {
  if (model.ends_with("-ccw")) return "virtual-css-bus";
  return model == "virtio-scsi-device" ? "virtio-bus" : own;
}

void AddHelpLine(std::string_view model, std::string_view bus, std::vector<std::string>* lines) {
  std::string line = StrCat("name \"", model, "\", bus ", BusUnder(model, bus));
  for (const auto& [alias, name] : kAliases) {
    if (alias == model) return;  // told where its model is
    if (name == model) StrAppend(&line, ", alias \"", alias, "\"");
  }
  lines->push_back(line + "\n");
}

// A line for each model, as QEMU writes them: its test harness looks for what it needs there.
std::string ListOfModels() {
  std::vector<std::string> lines;
  for (const ControllerModel& each : kControllers) AddHelpLine(each.name, "PCI", &lines);
  for (const DeviceModel& each : kModels) AddHelpLine(each.name, each.bus, &lines);
  std::sort(lines.begin(), lines.end());
  std::string list = "Storage devices:\n";
  for (const std::string& line : lines) list += line;
  return list;
}

// ---- What a device asks for ---------------------------------------------------------------------

// "Bus 'x' not found", "No 'SCSI' bus found for device 'y'".
absl::Status CheckBus(BlockLayer& layer, const DeviceModel& model,
                      const std::optional<std::string>& bus) {
  if (bus) {
    return layer.buses().HasBus(*bus) ? absl::OkStatus()
                                      : GenericError(StrCat("Bus '", *bus, "' not found"));
  }
  if (layer.buses().HasKind(model.bus)) return absl::OkStatus();
  return GenericError(StrCat("No '", model.bus, "' bus found for device '", model.name, "'"));
}

Nanoseconds SinceOf(const Attachment& backend) {
  return backend.is_attached() ? backend.holder()->since : 0;
}

// A drive that no device has, or a node.
struct Disk {
  Drive* drive = nullptr;
  NodeId node;
};

absl::StatusOr<Disk> FindDisk(BlockLayer& layer, const DeviceModel& model, const std::string& name)
    MILLRACE_OPENS_VIEW {
  Disk disk;
  disk.drive = layer.FindDrive(name);
  if (disk.drive == nullptr) {
    absl::StatusOr<NodeId> node = layer.FindDeviceOrNode(name);
    if (!node.ok()) {
      return RefuseUnknownNode(
          name, StrCat("Property '", OwnerOfDrive(model), ".drive' can't find value '", name, "'"));
    }
    disk.node = *node;
  } else if (disk.drive->device != nullptr) {
    const ConflictHolder holder = {.id = disk.drive->device->shown_name(),
                                   .type = "guest device",
                                   .since = SinceOf(disk.drive->backend)};
    return GenericError(StrCat("Drive '", name, "' is already in use by another device"),
                        DescribeRefusal({.reason = "in-use",
                                         .object = name,
                                         .next_step = "unplug that device with device_del first",
                                         .holders = {holder}}));
  } else if (!disk.drive->backend.is_attached()) {
    if (!model.is_removable) {
      return Refuse(ConflictReason::kNotAttached, name, "Device needs media, but drive is empty",
                    "insert a medium first, or use a device that can be empty");
    }
  } else {
    disk.node = disk.drive->backend.node();
  }
  if (model.needs_write && layer.IsReadOnly(disk.node)) {
    return Refuse(ConflictReason::kReadOnly, name, "Block node is read-only",
                  "reopen the node writable first, or use a device that only reads");
  }
  return disk;
}

absl::Status DuplicateDeviceId(const std::string& id) {
  return GenericError(
      StrCat("Duplicate device ID '", id, "'"),
      DescribeRefusal({.reason = "duplicate-id",
                       .object = id,
                       .next_step = "choose another id, or unplug that device first",
                       .holders = {{.id = id, .type = "guest device"}}}));
}

// How a device comes.
struct Manner {
  bool is_hotplug = false;
  bool is_plan = false;  // nothing is taken for it
};

// Its place in the object tree. Without an id it takes a number.
std::string PathFor(BlockLayer& layer, const std::string& id, std::string_view suffix,
                    Manner manner) {
  if (!id.empty()) return StrCat("/machine/peripheral/", id, suffix);
  return manner.is_plan ? layer.NextAnonymousPath(suffix) : layer.TakeAnonymousPath(suffix);
}

absl::StatusOr<GuestDevice> ReadDevice(BlockLayer& layer, ArgumentReader& reader,
                                       const DeviceModel& model, Manner manner) {
  GuestDevice device;
  device.driver = std::string(model.name);
  device.id = reader.OptionalString("id").value_or("");
  if (!device.id.empty() && !IsIdentifier(device.id)) {
    return GenericError("Parameter 'id' expects an identifier");
  }
  device.can_resize = model.can_resize;
  device.is_removable = model.is_removable;
  device.has_tray = model.is_removable && model.name != "floppy";
  device.shares_writes = reader.OptionalBool("share-rw").value_or(false);
  device.iothread = reader.OptionalString("iothread").value_or("");
  const std::optional<std::string> bus = reader.OptionalString("bus");
  // Where it sits in the guest, and how it looks there, is all the same to us otherwise.
  reader.AcceptRest();
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  MILLRACE_RETURN_IF_ERROR(CheckBus(layer, model, bus));
  if (manner.is_hotplug && !model.fixed_bus.empty()) {
    return GenericError(StrCat("Bus '", bus.value_or(std::string(model.fixed_bus)),
                               "' does not support hotplugging"));
  }
  if (!device.id.empty() && layer.HasDevice(device.id)) {
    return DuplicateDeviceId(device.id);
  }
  if (!device.iothread.empty() &&
      layer.host().objects.Find("iothread", device.iothread) == nullptr) {
    return NoSuchDevice(device.iothread);
  }
  MILLRACE_RETURN_IF_ERROR(CheckDeviceProperties(model.name, reader.options()));
  device.controller = layer.buses().ControllerOf(bus, model.bus);
  if (const BusTable::Controller* const above = layer.buses().FindController(device.controller)) {
    device.home_iothread = above->iothread;
  }
  device.path = PathFor(layer, device.id, model.backend_suffix, manner);
  return device;
}

constexpr uint64_t kBlockBytesMin = 512;
constexpr uint64_t kBlockBytesMax = 2 << 20;

absl::StatusOr<uint64_t> ReadBlockSize(ArgumentReader& reader, std::string_view name) {
  const std::optional<std::string> text = reader.OptionalString(name);
  if (!text) return 0;
  const json::object given = {{json::string_view(name.data(), name.size()), *text}};
  const std::optional<uint64_t> bytes =
      ArgumentReader(given, ScalarStyle::kText).OptionalSize(name);
  if (!bytes) return GenericError(StrCat("Parameter '", name, "' expects size"));
  if (*bytes == 0) return 0;
  const std::string device = reader.OptionalString("id").value_or("");
  if (*bytes < kBlockBytesMin || *bytes > kBlockBytesMax) {
    return GenericError(StrCat("Property ", device, ".", name, " doesn't take value ", *bytes,
                               " (minimum: ", kBlockBytesMin, ", maximum: ", kBlockBytesMax, ")"));
  }
  if ((*bytes & (*bytes - 1)) != 0) {
    return GenericError(StrCat("Property ", device, ".", name, " doesn't take value '", *bytes,
                               "', it's not a power of 2"));
  }
  return *bytes;
}

// How a disk looks in the guest: of no matter here, but it must be possible.
absl::Status CheckLooks(ArgumentReader& reader) {
  MILLRACE_ASSIGN_OR_RETURN(const uint64_t logical, ReadBlockSize(reader, "logical_block_size"));
  MILLRACE_ASSIGN_OR_RETURN(const uint64_t physical, ReadBlockSize(reader, "physical_block_size"));
  for (const std::string_view name : {"werror", "rerror"}) {
    const std::optional<std::string> action = reader.OptionalString(name);
    if (!action || *action == "auto" || *action == "ignore" || *action == "report" ||
        *action == "enospc" || *action == "stop") {
      continue;
    }
    return GenericError(StrCat("Parameter '", name, "' does not accept value '", *action, "'"));
  }
  if (logical > std::max(physical, kBlockBytesMin)) {
    return GenericError("logical_block_size > physical_block_size not supported");
  }
  return absl::OkStatus();
}

// Whether a property is missing or 0.
bool HasNoNumber(const ArgumentReader& reader, std::string_view name) {
  const json::value* const given =
      reader.options().if_contains(json::string_view(name.data(), name.size()));
  return given == nullptr || (given->is_string() && View(given->get_string()) == "0");
}

// A controller, as far as it can be told from its device.
absl::StatusOr<GuestDevice> ReadController(BlockLayer& layer, ArgumentReader& reader,
                                           const ControllerModel& model, Manner manner) {
  GuestDevice controller;
  controller.id = reader.OptionalString("id").value_or("");
  const std::string& id = controller.id;
  const std::string iothread = reader.OptionalString("iothread").value_or("");
  reader.AcceptRest();
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  if (!id.empty() && layer.HasDevice(id)) {
    return DuplicateDeviceId(id);
  }
  MILLRACE_RETURN_IF_ERROR(CheckDeviceProperties(model.name, reader.options()));
  if (!iothread.empty() && layer.host().objects.Find("iothread", iothread) == nullptr) {
    return NoSuchDevice(iothread);
  }
  if (model.name == "pci-bridge" && HasNoNumber(reader, "chassis_nr")) {
    return GenericError(
        "Bridge chassis not specified. Each bridge is required to be assigned a unique chassis id "
        "> 0.");
  }
  controller.iothread = iothread;
  controller.path = PathFor(layer, id, "", manner);
  return controller;
}

// What device_add asks for, once it cannot be refused but for permissions: a controller, or a
// device with its disk or with none.
struct DeviceRequest {
  const ControllerModel* controller = nullptr;
  GuestDevice device;  // of a controller only the id, the path and the iothread
  std::optional<Disk> disk;
};

absl::StatusOr<DeviceRequest> ReadDrivenDevice(BlockLayer& layer, ArgumentReader& reader,
                                               const DeviceModel& model, Manner manner)
    MILLRACE_OPENS_VIEW {
  const std::optional<std::string> drive_name = reader.OptionalString("drive");
  MILLRACE_RETURN_IF_ERROR(CheckLooks(reader));
  DeviceRequest request;
  MILLRACE_ASSIGN_OR_RETURN(request.device, ReadDevice(layer, reader, model, manner));
  if (drive_name) {
    MILLRACE_ASSIGN_OR_RETURN(request.disk, FindDisk(layer, model, *drive_name));
    GraphView view(layer.graph());
    MILLRACE_RETURN_IF_ERROR(CheckIothreads(layer, view, request.disk->node, &request.device));
  } else if (!model.is_removable) {
    return GenericError(model.bus == "IDE" ? "No drive specified" : "drive property not set");
  }
  return request;
}

absl::StatusOr<DeviceRequest> ReadDeviceRequest(BlockLayer& layer, ArgumentReader& reader,
                                                Manner manner) MILLRACE_OPENS_VIEW {
  const std::string name = reader.String("driver");
  if (!reader.ok()) return reader.Finish();
  for (const ControllerModel& controller : kControllers) {
    if (controller.name != name) continue;
    DeviceRequest request;
    request.controller = &controller;
    MILLRACE_ASSIGN_OR_RETURN(request.device, ReadController(layer, reader, controller, manner));
    return request;
  }
  for (const DeviceModel& model : kModels) {
    if (model.name == name) return ReadDrivenDevice(layer, reader, model, manner);
  }
  return GenericError(StrCat("'", name, "' is not a valid device model name"));
}

absl::Status CoAddDevice(BlockLayer& layer, ArgumentReader& reader, Manner manner)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(DeviceRequest request, ReadDeviceRequest(layer, reader, manner));
  if (request.controller != nullptr) {
    const ControllerModel& model = *request.controller;
    layer.buses().AddController({request.device.id, std::string(model.bus), model.has_backend,
                                 model.fixed_bus.empty(), request.device.iothread});
    return absl::OkStatus();
  }
  if (!request.disk) {  // a tray without a medium
    MILLRACE_ASSIGN_OR_RETURN(Drive* const empty, layer.AddEmptyDrive(""));
    return layer.PlugIn(*empty, std::move(request.device));
  }
  Drive* drive = request.disk->drive;
  if (drive == nullptr) {
    MILLRACE_ASSIGN_OR_RETURN(
        drive, layer.AddDriveOver("", request.disk->node, request.device.shown_name()));
  }
  absl::Status status = layer.PlugIn(*drive, std::move(request.device));
  if (!status.ok() && drive->id.empty()) layer.CoRemoveDrive(*drive);
  return status;
}

// Properties of devices are texts, however a client writes them: true is "on", 1 is "1".
json::object AsText(const json::object& arguments) {
  json::object properties;
  for (const auto& member : arguments) {
    const json::value& value = member.value();
    if (value.is_bool()) {
      properties[member.key()] = value.get_bool() ? "on" : "off";
    } else if (value.is_number()) {
      properties[member.key()] = json::serialize(value);
    } else {
      properties[member.key()] = value;
    }
  }
  return properties;
}

PlanResult PlanAddDevice(BlockLayer& layer, ArgumentReader& reader) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(
      const DeviceRequest request,
      ReadDeviceRequest(layer, reader, {.is_hotplug = true, .is_plan = true}));
  const std::string& id = request.device.id;
  CommandPlan plan = PlanOfStep(
      StrCat("plug in '", id.empty() ? request.device.path : id, "', a ", reader.String("driver")));
  if (request.disk) {
    MILLRACE_RETURN_IF_ERROR(
        layer.RehearsePlugIn(request.disk->drive, request.disk->node, request.device, &plan));
  }
  return plan;
}

PlanResult PlanDeviceAdd(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  const json::object properties = AsText(arguments);
  ArgumentReader reader(properties, ScalarStyle::kText);
  return PlanAddDevice(layer, reader);
}

// "driver=scsi-hd,drive=d", as --device and the human monitor have it.
absl::StatusOr<OptionValue> ReadDeviceText(std::string_view text) {
  if (text == "help" || text == "?") return Help(ListOfModels());
  return ParseLegacyOptions(text, "driver");
}

absl::Status CoAddDeviceOf(BlockLayer& layer, std::string_view text, Manner manner)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const OptionValue value, ReadDeviceText(text));
  ArgumentReader reader = value.Reader();
  return CoAddDevice(layer, reader, manner);
}

PlanResult PlanAddDeviceOf(BlockLayer& layer, std::string_view text) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const OptionValue value, ReadDeviceText(text));
  ArgumentReader reader = value.Reader();
  return PlanAddDevice(layer, reader);
}

void EmitDeleted(BlockLayer& layer, const std::string& path, const std::string& id) {
  json::object data = {{"path", path}};
  if (!id.empty()) data["device"] = id;
  layer.host().events.Emit("DEVICE_DELETED", std::move(data));
}

// The part that a wrapper has inside goes first.
void EmitDeletedParts(BlockLayer& layer, const GuestDevice& device) {
  const size_t inner = device.path.rfind("/virtio-backend");
  EmitDeleted(layer, device.path, inner == std::string::npos ? device.id : "");
  if (inner != std::string::npos) EmitDeleted(layer, device.path.substr(0, inner), device.id);
}

void CoUnplug(BlockLayer& layer, Drive& drive) MILLRACE_MAY_SUSPEND {
  const GuestDevice device = *drive.device;
  layer.CoUnplug(drive);
  EmitDeletedParts(layer, device);
}

// The disks on a controller's bus, the last one first.
std::vector<Drive*> DrivesOn(const BlockLayer& layer, const std::string& controller) {
  std::vector<Drive*> found;
  for (const std::unique_ptr<Drive>& drive : layer.drives()) {
    if (drive->device != nullptr && drive->device->controller == controller) {
      found.push_back(drive.get());
    }
  }
  std::sort(found.begin(), found.end(), [](const Drive* left, const Drive* right) {
    return left->device->number > right->device->number;
  });
  return found;
}

absl::Status CheckMayDelete(const BusTable::Controller& controller) {
  if (controller.is_removable) return absl::OkStatus();
  return GenericError("Bus 'pcie.0' does not support hotplugging");
}

// Stages that, and says what comes in its own time.
void PlanUnplug(BlockLayer& layer, Drive& drive, GraphTransaction& change, CommandPlan* plan) {
  if (drive.goes_with_device && drive.backend.is_attached()) {
    for (const std::string& job : JobsOn(change, drive.backend.node())) {
      plan->unknown.push_back(
          StrCat("the graph when job '", job, "', which is cancelled, has ended"));
    }
  }
  layer.StageUnplug(change, drive);
}

PlanResult PlanDeviceDel(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  const std::string id = ArgumentReader(arguments).String("id");
  if (!layer.HasDevice(id)) return NoSuchDevice(id);
  CommandPlan plan;
  GraphTransaction change(layer.graph());
  if (const BusTable::Controller* const controller = layer.buses().FindController(id)) {
    MILLRACE_RETURN_IF_ERROR(CheckMayDelete(*controller));
    for (Drive* const drive : DrivesOn(layer, id)) {
      const GuestDevice& device = *drive->device;
      plan.steps.push_back(StrCat("unplug '", device.id.empty() ? device.path : device.id, "'"));
      PlanUnplug(layer, *drive, change, &plan);
    }
  } else if (Drive* const drive = layer.FindDriveOfDevice(id)) {
    PlanUnplug(layer, *drive, change, &plan);
  }
  plan.steps.push_back(StrCat("unplug '", id, "'"));
  return PlanOfEdit(change, std::move(plan));
}

// What is on its bus goes with it.
absl::Status CoDeleteController(BlockLayer& layer, const BusTable::Controller& controller)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CheckMayDelete(controller));
  const std::string id = controller.id;
  const std::string path = StrCat("/machine/peripheral/", id);
  const bool has_backend = controller.has_backend;
  for (Drive* const drive : DrivesOn(layer, id)) CoUnplug(layer, *drive);
  layer.buses().RemoveController(id);
  if (has_backend) EmitDeleted(layer, StrCat(path, "/virtio-backend"), "");
  EmitDeleted(layer, path, id);
  return absl::OkStatus();
}

CommandResult CoDeviceDel(BlockLayer& layer, const std::string& id) MILLRACE_MAY_SUSPEND {
  if (const BusTable::Controller* const controller = layer.buses().FindController(id)) {
    MILLRACE_RETURN_IF_ERROR(CoDeleteController(layer, *controller));
    return json::object();
  }
  Drive* const drive = layer.FindDriveOfDevice(id);
  if (drive == nullptr) return NoSuchDevice(id);
  CoUnplug(layer, *drive);
  return json::object();
}

}  // namespace

void RegisterDeviceCommands(BlockLayer& layer) {
  layer.host().commands.Register(
      {.name = "device_add",
       .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND -> CommandResult {
         const json::object properties = AsText(arguments);
         ArgumentReader reader(properties, ScalarStyle::kText);
         MILLRACE_RETURN_IF_ERROR(CoAddDevice(layer, reader, {.is_hotplug = true}));
         return json::object();
       },
       .schema_type = "DeviceOptions"});
  layer.host().commands.Register({.name = "device_del",
                                  .arguments = {{{"id"}}},
                                  .handler =
                                      [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
                                        ArgumentReader reader(arguments);
                                        return CoDeviceDel(layer, reader.String("id"));
                                      },
                                  .replies_first = true});
  layer.host().commands.SetPlanner(
      "device_add", [&layer](const json::object& arguments)
                        MILLRACE_OPENS_VIEW { return PlanDeviceAdd(layer, arguments); });
  layer.host().commands.SetPlanner(
      "device_del", [&layer](const json::object& arguments)
                        MILLRACE_OPENS_VIEW { return PlanDeviceDel(layer, arguments); });
  layer.host().options.Register("device", [&layer](std::string_view text) MILLRACE_MAY_SUSPEND {
    return CoAddDeviceOf(layer, text, {});
  });
  RegisterHuman(
      layer, "device_add", {"device_add", "", {{"options"}}},
      [&layer](const json::object& given) MILLRACE_MAY_SUSPEND {
        const std::string_view text = TextOf(given, "options");
        return HumanResult(layer, CoAddDeviceOf(layer, text, {.is_hotplug = true}));
      },
      [&layer](const json::object& given) MILLRACE_OPENS_VIEW {
        const std::string_view text = TextOf(given, "options");
        return AsPlanOfLine(layer, PlanAddDeviceOf(layer, text), &HumanResult);
      });
}

}  // namespace millrace
