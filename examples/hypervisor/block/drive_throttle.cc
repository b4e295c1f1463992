#include "examples/hypervisor/block/drive_throttle.h"

#include <optional>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/refusal.h"
#include "examples/hypervisor/block/throttle_objects.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

void DescribeLimit(const std::string& name, const ThrottleLimit& limit, json::object* inserted) {
  (*inserted)[name] = limit.average;
  if (limit.burst == 0) return;
  (*inserted)[name + "_max"] = limit.burst;
  (*inserted)[name + "_max_length"] = limit.burst_seconds;
}

std::shared_ptr<ThrottleGroup> FindOrMakeGroup(BlockLayer& layer, const std::string& name,
                                               const ThrottleLimits& limits) {
  if (auto group = FindThrottleGroup(layer.host().objects, name)) return group;
  for (const std::unique_ptr<Drive>& drive : layer.drives()) {
    if (drive->throttle != nullptr && drive->throttle->group()->name() == name) {
      return drive->throttle->group();
    }
  }
  return std::make_shared<ThrottleGroup>(layer.host().engine.scheduler(), name, limits);
}

struct ThrottleRequest {
  Drive* drive = nullptr;
  std::string group;
  ThrottleLimits limits;
};

absl::StatusOr<ThrottleRequest> ReadIoThrottle(BlockLayer& layer, const json::object& arguments) {
  ArgumentReader reader(arguments);
  const std::optional<std::string> device = reader.OptionalString("device");
  const std::optional<std::string> id = reader.OptionalString("id");
  if (device.has_value() == id.has_value()) {
    return GenericError("Need exactly one of 'device' and 'id'");
  }
  Drive* drive = device ? layer.FindDrive(*device) : nullptr;
  if (id) {
    MILLRACE_ASSIGN_OR_RETURN(drive, layer.FindBackendOfDevice(*id));
  }
  if (drive == nullptr) return NoSuchDevice(*device);
  if (!drive->backend.is_attached()) {
    return Refuse(ConflictReason::kNotAttached, drive->id, "Device has no medium",
                  "insert a medium first");
  }
  ThrottleRequest request;
  request.drive = drive;
  ReadThrottleLimits(reader, LimitNames::kOfDrives, "", &request.limits);
  request.group = reader.OptionalString("group").value_or(device ? *device : id.value_or(""));
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  MILLRACE_RETURN_IF_ERROR(CheckThrottleLimits(request.limits));
  return request;
}

CommandResult SetIoThrottle(BlockLayer& layer, const json::object& arguments) {
  MILLRACE_ASSIGN_OR_RETURN(const ThrottleRequest request, ReadIoThrottle(layer, arguments));
  MILLRACE_RETURN_IF_ERROR(SetDriveThrottle(layer, *request.drive, request.group, request.limits));
  return json::object();
}

PlanResult PlanIoThrottle(BlockLayer& layer, const json::object& arguments) {
  MILLRACE_ASSIGN_OR_RETURN(const ThrottleRequest request, ReadIoThrottle(layer, arguments));
  return PlanOfStep(HasAnyLimit(request.limits)
                        ? StrCat("limit the drive as a member of the group '", request.group, "'")
                        : std::string("take all limits off the drive"));
}

std::vector<ArgumentSpec> ThrottleArguments() {
  std::vector<ArgumentSpec> arguments = {{"device", ArgumentType::kString, true},
                                         {"id", ArgumentType::kString, true}};
  for (const char* name : {"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"}) {
    arguments.push_back({name, ArgumentType::kInteger});
  }
  for (const char* suffix : {"_max", "_max_length"}) {
    for (const char* name : {"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"}) {
      arguments.push_back({StrCat(name, suffix), ArgumentType::kInteger, true});
    }
  }
  arguments.push_back({"iops_size", ArgumentType::kInteger, true});
  arguments.push_back({"group", ArgumentType::kString, true});
  return arguments;
}

}  // namespace

void DriveThrottle::Describe(json::object* inserted) const {
  const ThrottleLimits& limits = group_->limits();
  DescribeLimit("bps", limits.bytes_total, inserted);
  DescribeLimit("bps_rd", limits.bytes_read, inserted);
  DescribeLimit("bps_wr", limits.bytes_write, inserted);
  DescribeLimit("iops", limits.operations_total, inserted);
  DescribeLimit("iops_rd", limits.operations_read, inserted);
  DescribeLimit("iops_wr", limits.operations_write, inserted);
  if (limits.operation_bytes != 0) (*inserted)["iops_size"] = limits.operation_bytes;
  (*inserted)["group"] = group_->name();
}

absl::Status SetDriveThrottle(BlockLayer& layer, Drive& drive, const std::string& group_name,
                              const ThrottleLimits& limits) {
  if (drive.throttle != nullptr && drive.throttle->group()->name() == group_name &&
      HasAnyLimit(limits)) {
    return drive.throttle->group()->SetLimits(limits);
  }
  // What waits under the old limits goes on at once; whoever comes later pays for it.
  if (drive.throttle != nullptr) {
    drive.throttle->LetAllPass();
    drive.throttle.reset();
  }
  if (!HasAnyLimit(limits)) return absl::OkStatus();
  const std::shared_ptr<ThrottleGroup> group = FindOrMakeGroup(layer, group_name, limits);
  MILLRACE_RETURN_IF_ERROR(group->SetLimits(limits));
  drive.throttle = std::make_unique<DriveThrottle>(group, drive.id);
  return absl::OkStatus();
}

void RegisterDriveThrottle(BlockLayer& layer) {
  layer.host().commands.Register({.name = "block_set_io_throttle",
                                  .arguments = ThrottleArguments(),
                                  .handler = [&layer](const json::object& arguments) {
                                    return SetIoThrottle(layer, arguments);
                                  }});
  layer.host().commands.SetPlanner(
      "block_set_io_throttle",
      [&layer](const json::object& arguments) { return PlanIoThrottle(layer, arguments); });
}

}  // namespace millrace
