// device_add, device_del, and --device: guest devices. They do no I/O of their own; they take
// permissions on a drive, and give it a place in the guest.
#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/options/keyval.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

struct DeviceModel {
  std::string_view name;
  std::string_view backend_suffix;  // of the part that has the drive, in the object tree
  bool can_resize = false;
  bool is_removable = false;
};

constexpr DeviceModel kModels[] = {
    {"virtio-blk", "/virtio-backend", true, false},
    {"virtio-blk-pci", "/virtio-backend", true, false},
    {"virtio-blk-ccw", "/virtio-backend", true, false},
    {"virtio-blk-device", "", true, false},
    {"scsi-hd", "", true, false},
    {"scsi-cd", "", false, true},
    {"ide-hd", "", false, false},
    {"ide-cd", "", false, true},
    {"nvme", "", true, false},
    {"usb-storage", "", true, false},
    {"floppy", "", false, true},
};

// Controllers have no drive: known, and nothing is to be done for them.
constexpr std::string_view kControllers[] = {
    "virtio-scsi", "virtio-scsi-pci", "virtio-scsi-ccw", "virtio-scsi-device",
    "ahci",        "lsi53c895a",      "pcie-root-port"};

absl::StatusOr<Drive*> FindOrMakeDrive(BlockLayer& layer, const DeviceModel& model,
                                       const std::string& name) MILLRACE_OPENS_VIEW {
  Drive* drive = layer.FindDrive(name);
  if (drive == nullptr) {
    absl::StatusOr<NodeId> node = layer.FindDeviceOrNode(name);
    if (!node.ok()) {
      return GenericError(
          StrCat("Property '", model.name, ".drive' can't find value '", name, "'"));
    }
    return layer.AddDriveOver("", *node);
  }
  if (drive->device == nullptr) return drive;
  return GenericError(StrCat("Drive '", name, "' is already in use by another device"));
}

absl::StatusOr<GuestDevice> ReadDevice(BlockLayer& layer, ArgumentReader& reader,
                                       const DeviceModel& model) {
  GuestDevice device;
  device.driver = std::string(model.name);
  device.id = reader.OptionalString("id").value_or("");
  device.can_resize = model.can_resize;
  device.is_removable = model.is_removable;
  device.shares_writes = reader.OptionalBool("share-rw").value_or(false);
  device.iothread = reader.OptionalString("iothread").value_or("");
  if (!device.iothread.empty() &&
      layer.host().objects.Find("iothread", device.iothread) == nullptr) {
    return GenericError(
        StrCat("Property '", model.name, ".iothread' can't find value '", device.iothread, "'"));
  }
  // Where it sits in the guest, and how it looks there, is all the same to us.
  reader.AcceptRest();
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  if (!device.id.empty() && layer.FindDriveOfDevice(device.id) != nullptr) {
    return GenericError(StrCat("Duplicate device ID '", device.id, "'"));
  }
  device.path = device.id.empty() ? layer.NextAnonymousPath(model.backend_suffix)
                                  : StrCat("/machine/peripheral/", device.id, model.backend_suffix);
  return device;
}

absl::Status CoAddDevice(BlockLayer& layer, ArgumentReader& reader) MILLRACE_MAY_SUSPEND {
  const std::string name = reader.String("driver");
  if (!reader.ok()) return reader.Finish();
  if (std::find(std::begin(kControllers), std::end(kControllers), name) != std::end(kControllers)) {
    return absl::OkStatus();
  }
  const auto* model = std::find_if(std::begin(kModels), std::end(kModels),
                                   [&](const DeviceModel& each) { return each.name == name; });
  if (model == std::end(kModels)) {
    return GenericError(StrCat("'", name, "' is not a valid device model name"));
  }
  const std::optional<std::string> drive_name = reader.OptionalString("drive");
  MILLRACE_ASSIGN_OR_RETURN(GuestDevice device, ReadDevice(layer, reader, *model));
  if (!drive_name) {
    return GenericError("drive property not set");
  }
  MILLRACE_ASSIGN_OR_RETURN(Drive* const drive, FindOrMakeDrive(layer, *model, *drive_name));
  absl::Status status = layer.PlugIn(*drive, std::move(device));
  if (!status.ok() && drive->id.empty()) layer.CoRemoveDrive(*drive);
  return status;
}

CommandResult CoDeviceDel(BlockLayer& layer, const std::string& id) MILLRACE_MAY_SUSPEND {
  Drive* drive = layer.FindDriveOfDevice(id);
  if (drive == nullptr) return DeviceNotFound(StrCat("Device '", id, "' not found"));
  const GuestDevice device = *drive->device;
  layer.CoUnplug(*drive);
  json::object data = {{"path", device.path}};
  if (!device.id.empty()) data["device"] = device.id;
  layer.host().events.Emit("DEVICE_DELETED", std::move(data));
  return json::object();
}

}  // namespace

void RegisterDeviceCommands(BlockLayer& layer) {
  layer.host().commands.Register(
      {.name = "device_add",
       .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND -> CommandResult {
         ArgumentReader reader(arguments);
         MILLRACE_RETURN_IF_ERROR(CoAddDevice(layer, reader));
         return json::object();
       }});
  layer.host().commands.Register({.name = "device_del",
                                  .arguments = {{{"id"}}},
                                  .handler =
                                      [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
                                        ArgumentReader reader(arguments);
                                        return CoDeviceDel(layer, reader.String("id"));
                                      },
                                  .replies_first = true});
  layer.host().options.Register(
      "device", [&layer](std::string_view text) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(const OptionValue value, ParseLegacyOptions(text, "driver"));
        ArgumentReader reader = value.Reader();
        return CoAddDevice(layer, reader);
      });
}

}  // namespace millrace
