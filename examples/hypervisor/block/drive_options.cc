// --blockdev and --drive.
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/tree_options.h"
#include "examples/hypervisor/options/keyval.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

absl::Status CoBlockdevOption(BlockLayer& layer, std::string_view text) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const OptionValue value, ParseKeyval(text, "driver"));
  ArgumentReader reader = value.Reader();
  MILLRACE_ASSIGN_OR_RETURN(NodeTree tree, ReadNodeTree(reader, TreeStyle::kBlockdev));
  if (tree.node_name.empty()) {
    return GenericError("'node-name' must be specified for the root node");
  }
  return layer.CoAddNode(std::move(tree));
}

// ---- --drive -----------------------------------------------------------------------------------

// What concerns the drive and not its nodes.
struct DriveSettings {
  std::string id;
  std::string interface = "ide";
  bool is_cdrom = false;
  bool copies_on_read = false;
};

absl::Status SetCacheMode(std::string_view mode, json::object* nodes) {
  struct Mode {
    std::string_view name;
    bool direct;
    bool no_flush;
  };
  constexpr Mode kModes[] = {{"none", true, false},          {"off", true, false},
                             {"directsync", true, false},    {"writeback", false, false},
                             {"writethrough", false, false}, {"unsafe", false, true}};
  for (const Mode& each : kModes) {
    if (each.name != mode) continue;
    (*nodes)["cache"] = json::object{{"direct", each.direct ? "on" : "off"},
                                     {"no-flush", each.no_flush ? "on" : "off"}};
    return absl::OkStatus();
  }
  return GenericError("invalid cache option");
}

std::optional<std::string> TakeText(json::object& options, std::string_view name) {
  const auto found = options.find(json::string_view(name.data(), name.size()));
  if (found == options.end() || !found->value().is_string()) return std::nullopt;
  std::string text(View(found->value().get_string()));
  options.erase(found);
  return text;
}

// Takes the drive's own settings out of `options` and leaves those of the nodes.
absl::StatusOr<DriveSettings> TakeSettings(json::object& options) {
  DriveSettings settings;
  if (auto id = TakeText(options, "id")) settings.id = *id;
  if (auto interface = TakeText(options, "if")) settings.interface = *interface;
  if (auto media = TakeText(options, "media")) settings.is_cdrom = *media == "cdrom";
  if (auto cor = TakeText(options, "copy-on-read")) settings.copies_on_read = *cor == "on";
  if (auto mode = TakeText(options, "cache")) {
    MILLRACE_RETURN_IF_ERROR(SetCacheMode(*mode, &options));
  }
  if (auto format = TakeText(options, "format")) options["driver"] = *format;
  // What to do about errors, and how to reach the host, is the engine's business.
  for (const char* ignored : {"werror", "rerror", "aio", "index", "bus", "unit", "snapshot"}) {
    TakeText(options, ignored);
  }
  if (auto readonly = TakeText(options, "readonly")) options["read-only"] = *readonly;
  constexpr std::string_view kInterfaces[] = {"none",   "virtio", "ide",    "scsi",
                                              "floppy", "sd",     "pflash", "xen"};
  if (std::find(std::begin(kInterfaces), std::end(kInterfaces), settings.interface) ==
      std::end(kInterfaces)) {
    return GenericError(StrCat("unsupported bus type '", settings.interface, "'"));
  }
  return settings;
}

GuestDevice DeviceFor(BlockLayer& layer, const DriveSettings& settings) {
  GuestDevice device;
  const bool is_virtio = settings.interface == "virtio";
  device.driver = is_virtio ? "virtio-blk-pci" : settings.interface;
  device.can_resize = is_virtio || settings.interface == "scsi";
  device.is_removable = settings.is_cdrom || settings.interface == "floppy";
  device.path = layer.NextAnonymousPath(is_virtio ? "/virtio-backend" : "");
  return device;
}

// Puts a copy-on-read filter on top.
NodeTree WithCopyOnRead(NodeTree tree) {
  NodeTree filter;
  filter.driver = "copy-on-read";
  filter.is_read_only = tree.is_read_only;
  filter.children.push_back({"file", "", std::make_unique<NodeTree>(std::move(tree))});
  return filter;
}

int CountOf(const BlockLayer& layer, std::string_view interface) {
  int count = 0;
  for (const std::unique_ptr<Drive>& drive : layer.drives()) {
    if (drive->id.compare(0, interface.size(), interface) == 0) ++count;
  }
  return count;
}

absl::Status CoDriveOption(BlockLayer& layer, std::string_view text) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(DriveOptionValue value, ParseDriveOptions(text));
  json::object& options = value.options.object;
  if (const json::value* format = options.if_contains("format");
      format != nullptr && format->is_string() && View(format->get_string()) == "help") {
    printf("Supported formats:");
    for (std::string_view name : FormatNames()) {
      printf(" %.*s", static_cast<int>(name.size()), name.data());
    }
    printf("\n");
    return HelpWasPrinted();
  }
  MILLRACE_ASSIGN_OR_RETURN(DriveSettings settings, TakeSettings(options));
  ArgumentReader reader = value.options.Reader();
  MILLRACE_ASSIGN_OR_RETURN(NodeTree tree, ReadNodeTree(reader, TreeStyle::kDrive));
  if (value.filename) tree.filename = *value.filename;
  if (settings.is_cdrom) tree.is_read_only = true;
  if (settings.copies_on_read) tree = WithCopyOnRead(std::move(tree));
  if (settings.id.empty()) {
    settings.id = StrCat(settings.interface, CountOf(layer, settings.interface));
  }
  MILLRACE_ASSIGN_OR_RETURN(Drive* const drive, layer.CoAddDrive(settings.id, std::move(tree)));
  if (settings.interface == "none") return absl::OkStatus();
  return layer.PlugIn(*drive, DeviceFor(layer, settings));
}

}  // namespace

void RegisterDriveOptions(BlockLayer& layer) {
  layer.host().options.Register("blockdev", [&layer](std::string_view text) MILLRACE_MAY_SUSPEND {
    return CoBlockdevOption(layer, text);
  });
  layer.host().options.Register("drive", [&layer](std::string_view text) MILLRACE_MAY_SUSPEND {
    return CoDriveOption(layer, text);
  });
}

}  // namespace millrace
