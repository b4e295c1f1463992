// qom-get, qom-set, qom-list: QEMU's tree of objects, as far as there is one here: user objects
// below /objects, guest devices below /machine. What can be read and set are the limits of throttle
// groups, and which drive a guest device has.
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/throttle_objects.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

constexpr std::string_view kObjects = "/objects/";
constexpr std::string_view kDevices = "/machine/peripheral/";

// What a path leads to; a relative one is an id.
struct Found {
  std::shared_ptr<ThrottleGroup> group;
  Drive* drive = nullptr;  // of a guest device
  std::string type;        // of another user object
  std::string type_name() const {
    if (group != nullptr) return "throttle-group";
    return drive != nullptr ? drive->device->driver : type;
  }
};

absl::StatusOr<Found> Resolve(BlockLayer& layer, const std::string& path) {
  std::string_view id = path;
  if (id.starts_with(kObjects)) id.remove_prefix(kObjects.size());
  Found found;
  found.group = FindThrottleGroup(layer.host().objects, id);
  for (const std::string& type : layer.host().objects.Types()) {
    if (layer.host().objects.Find(type, id) != nullptr) found.type = type;
  }
  if (!found.type.empty()) return found;
  found.drive = layer.FindDriveOfDevice(path);
  if (found.drive == nullptr && path.starts_with(kDevices)) {
    found.drive = layer.FindDriveOfDevice(std::string_view(path).substr(kDevices.size()));
  }
  if (found.drive != nullptr) return found;
  return DeviceNotFound(StrCat("Device '", path, "' not found"));
}

absl::Status NoSuchProperty(const Found& found, std::string_view property) {
  return GenericError(StrCat("Property '", found.type_name(), ".", property, "' not found"));
}

// Each limit of a group has a property of its own, too, which is set when the group is made.
std::optional<json::value> OldLimit(const Found& found, std::string_view property) {
  if (found.group == nullptr || !property.starts_with("x-")) return std::nullopt;
  const json::object limits = DescribeGroupLimits(found.group->limits());
  const json::value* const limit = limits.if_contains(JsonKey(property.substr(2)));
  return limit == nullptr ? std::nullopt : std::optional<json::value>(*limit);
}

// The drive's name, or its node's.
std::string NameOfDrive(BlockLayer& layer, const Drive& drive) MILLRACE_OPENS_VIEW {
  if (!drive.id.empty() || !drive.backend.is_attached()) return drive.id;
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> node = view.Resolve(drive.backend.node());
  return node.ok() ? std::string(node->name()) : std::string();
}

CommandResult GetProperty(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const Found found, Resolve(layer, reader.String("path")));
  const std::string property = reader.String("property");
  if (property == "type") return json::value(found.type_name());
  if (found.group != nullptr && property == "limits") {
    return json::value(DescribeGroupLimits(found.group->limits()));
  }
  if (const std::optional<json::value> limit = OldLimit(found, property)) return *limit;
  if (found.drive != nullptr) {
    if (property == "drive") return json::value(NameOfDrive(layer, *found.drive));
    if (property == "share-rw") return json::value(found.drive->device->shares_writes);
  }
  return NoSuchProperty(found, property);
}

// Limits that are not named stay as they are.
absl::StatusOr<ThrottleLimits> ReadLimits(const ThrottleGroup& group, const json::value& value) {
  if (!value.is_object()) {
    return GenericError("Invalid parameter type for 'limits', expected: object");
  }
  ThrottleLimits limits = group.limits();
  ArgumentReader reader(value.get_object(), ScalarStyle::kTyped, "limits");
  ReadThrottleLimits(reader, LimitNames::kOfGroups, "", &limits);
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  MILLRACE_RETURN_IF_ERROR(CheckThrottleLimits(limits));
  MILLRACE_RETURN_IF_ERROR(limits.Validate());
  return limits;
}

// What qom-set is to set: of all properties only the limits of a group can be.
struct WantedLimits {
  std::shared_ptr<ThrottleGroup> group;
  ThrottleLimits limits;
};

absl::StatusOr<WantedLimits> ReadProperty(BlockLayer& layer, const json::object& arguments) {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const Found found, Resolve(layer, reader.String("path")));
  const std::string property = reader.String("property");
  const json::value* value = reader.OptionalAny("value");
  if (value == nullptr) return GenericError("Parameter 'value' is missing");
  if (OldLimit(found, property)) {
    return GenericError("Property cannot be set after initialization");
  }
  if (found.group == nullptr || property != "limits") return NoSuchProperty(found, property);
  MILLRACE_ASSIGN_OR_RETURN(const ThrottleLimits limits, ReadLimits(*found.group, *value));
  return WantedLimits{found.group, limits};
}

CommandResult SetProperty(BlockLayer& layer, const json::object& arguments) {
  MILLRACE_ASSIGN_OR_RETURN(const WantedLimits wanted, ReadProperty(layer, arguments));
  MILLRACE_RETURN_IF_ERROR(wanted.group->SetLimits(wanted.limits));
  return json::object();
}

PlanResult PlanProperty(BlockLayer& layer, const json::object& arguments) {
  MILLRACE_ASSIGN_OR_RETURN(const WantedLimits wanted, ReadProperty(layer, arguments));
  return PlanOfStep(StrCat("set the limits of throttle group '", wanted.group->name(), "'"));
}

json::array ListObjects(BlockLayer& layer) {
  json::array list = {{{"name", "type"}, {"type", "string"}}};
  for (const std::string& type : layer.host().objects.Types()) {
    for (const std::string& id : layer.host().objects.IdsOf(type)) {
      list.push_back({{"name", id}, {"type", StrCat("child<", type, ">")}});
    }
  }
  return list;
}

json::array ListDevices(BlockLayer& layer) {
  json::array list = {{{"name", "type"}, {"type", "string"}}};
  for (const std::unique_ptr<Drive>& drive : layer.drives()) {
    const GuestDevice* device = drive->device.get();
    if (device == nullptr || device->id.empty()) continue;
    list.push_back({{"name", device->id}, {"type", StrCat("child<", device->driver, ">")}});
  }
  return list;
}

CommandResult ListProperties(BlockLayer& layer, const json::object& arguments) {
  const std::string path = ArgumentReader(arguments).String("path");
  if (path == "/objects") return json::value(ListObjects(layer));
  if (path == "/machine/peripheral") return json::value(ListDevices(layer));
  MILLRACE_ASSIGN_OR_RETURN(const Found found, Resolve(layer, path));
  json::array list = {{{"name", "type"}, {"type", "string"}}};
  if (found.group != nullptr) list.push_back({{"name", "limits"}, {"type", "ThrottleLimits"}});
  if (found.drive != nullptr) list.push_back({{"name", "drive"}, {"type", "str"}});
  return json::value(std::move(list));
}

}  // namespace

void RegisterObjectProperties(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  commands.Register({.name = "qom-get",
                     .arguments = {{{"path"}, {"property"}}},
                     .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND {
                       return GetProperty(layer, arguments);
                     }});
  commands.Register(
      {.name = "qom-set",
       .arguments = {{{"path"}, {"property"}, {"value", ArgumentType::kAny}}},
       .handler = [&layer](const json::object& given) { return SetProperty(layer, given); }});
  commands.SetPlanner("qom-set",
                      [&layer](const json::object& given) { return PlanProperty(layer, given); });
  commands.Register(
      {.name = "qom-list",
       .arguments = {{{"path"}}},
       .handler = [&layer](const json::object& given) { return ListProperties(layer, given); }});
}

}  // namespace millrace
