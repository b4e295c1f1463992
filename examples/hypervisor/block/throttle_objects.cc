#include "examples/hypervisor/block/throttle_objects.h"

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/block_layer.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr uint64_t kLimitMax = 1000000000000000;

struct ThrottleObject final : UserObject {
  explicit ThrottleObject(std::shared_ptr<ThrottleGroup> its_group) : group(std::move(its_group)) {}
  // Filters and drives hold it too.
  std::vector<ConflictHolder> users() const override {
    if (group.use_count() == 1) return {};
    std::vector<ConflictHolder> users;
    for (const std::string& name : group->MemberNames()) {
      users.push_back({.id = name, .type = "throttle member"});
    }
    if (users.empty()) users.push_back({.type = "throttle member"});  // it is being opened
    return users;
  }

  const std::shared_ptr<ThrottleGroup> group;
};

struct NamedLimit {
  std::string_view of_groups;
  std::string_view of_drives;
  ThrottleLimit ThrottleLimits::*limit;
};

constexpr std::array<NamedLimit, 6> kLimits = {{
    {"bps-total", "bps", &ThrottleLimits::bytes_total},
    {"bps-read", "bps_rd", &ThrottleLimits::bytes_read},
    {"bps-write", "bps_wr", &ThrottleLimits::bytes_write},
    {"iops-total", "iops", &ThrottleLimits::operations_total},
    {"iops-read", "iops_rd", &ThrottleLimits::operations_read},
    {"iops-write", "iops_wr", &ThrottleLimits::operations_write},
}};

// "bps_max" and "bps_rd_max", "bps_max_length"; with '-' for groups.
std::string Derived(LimitNames names, std::string_view base, std::string_view what) {
  std::string name = StrCat(base, names == LimitNames::kOfGroups ? "-" : "_", what);
  return name;
}

// A limit below zero or beyond the bound is told as such, whatever its type.
void ReadValue(ArgumentReader& reader, const std::string& name, uint64_t* value) {
  const json::value* given = reader.OptionalAny(name);
  if (given == nullptr) return;
  // Properties of their own, from before "limits", have texts of their own.
  if (name.starts_with("x-")) {
    const std::optional<int64_t> number = reader.OptionalInteger(name);
    if (number.value_or(0) < 0) {
      reader.Fail(GenericError("Property values cannot be negative"));
    } else if (number) {
      *value = static_cast<uint64_t>(*number);
    }
    return;
  }
  if (!given->is_string()) {
    // Below 0 is beyond the bound, and is told with the other limits.
    if (auto number = reader.OptionalInteger(name)) *value = static_cast<uint64_t>(*number);
    return;
  }
  if (View(given->get_string()).starts_with('-')) {
    reader.Fail(GenericError(StrCat("bps/iops/max values must be within [0, ", kLimitMax, "]")));
    return;
  }
  if (auto size = reader.OptionalSize(name)) *value = *size;
}

absl::Status CheckLimit(const ThrottleLimit& limit) {
  if (limit.average > kLimitMax || limit.burst > kLimitMax) {
    return GenericError(StrCat("bps/iops/max values must be within [0, ", kLimitMax, "]"));
  }
  if (limit.burst_seconds == 0) return GenericError("the burst length cannot be 0");
  if (limit.burst_seconds > 1 && limit.burst == 0) {
    return GenericError("burst length set without burst rate");
  }
  if (limit.burst != 0 && limit.burst_seconds > kLimitMax / limit.burst) {
    return GenericError("burst length too high for this burst rate");
  }
  if (limit.burst != 0 && limit.average == 0) {
    return GenericError("bps_max/iops_max require corresponding bps/iops values");
  }
  if (limit.burst != 0 && limit.burst < limit.average) {
    return GenericError("bps_max/iops_max cannot be lower than bps/iops");
  }
  return absl::OkStatus();
}

bool ExcludeEachOther(const ThrottleLimit& total, const ThrottleLimit& read,
                      const ThrottleLimit& write, uint64_t ThrottleLimit::*value) {
  return total.*value != 0 && (read.*value != 0 || write.*value != 0);
}

}  // namespace

void ReadThrottleLimits(ArgumentReader& reader, LimitNames names, std::string_view prefix,
                        ThrottleLimits* limits) {
  for (const NamedLimit& each : kLimits) {
    const std::string base =
        StrCat(prefix, names == LimitNames::kOfGroups ? each.of_groups : each.of_drives);
    ThrottleLimit& limit = limits->*each.limit;
    ReadValue(reader, base, &limit.average);
    ReadValue(reader, Derived(names, base, "max"), &limit.burst);
    ReadValue(reader,
              Derived(names, base, names == LimitNames::kOfGroups ? "max-length" : "max_length"),
              &limit.burst_seconds);
  }
  ReadValue(reader, StrCat(prefix, names == LimitNames::kOfGroups ? "iops-size" : "iops_size"),
            &limits->operation_bytes);
}

absl::Status CheckThrottleLimits(const ThrottleLimits& limits) {
  for (auto value : {&ThrottleLimit::average, &ThrottleLimit::burst}) {
    if (ExcludeEachOther(limits.bytes_total, limits.bytes_read, limits.bytes_write, value) ||
        ExcludeEachOther(limits.operations_total, limits.operations_read, limits.operations_write,
                         value)) {
      return GenericError(
          "bps/iops/max total values and read/write values cannot be used at the same time");
    }
  }
  if (limits.operation_bytes != 0 && limits.operations_total.average == 0 &&
      limits.operations_read.average == 0 && limits.operations_write.average == 0) {
    return GenericError("iops size requires an iops value to be set");
  }
  for (const NamedLimit& each : kLimits) MILLRACE_RETURN_IF_ERROR(CheckLimit(limits.*each.limit));
  return absl::OkStatus();
}

bool HasAnyLimit(const ThrottleLimits& limits) {
  for (const NamedLimit& each : kLimits) {
    if ((limits.*each.limit).average != 0) return true;
  }
  return false;
}

json::object DescribeGroupLimits(const ThrottleLimits& limits) {
  json::object shown;
  for (const NamedLimit& each : kLimits) {
    const ThrottleLimit& limit = limits.*each.limit;
    const std::string base(each.of_groups);
    shown[base] = limit.average;
    shown[base + "-max"] = limit.burst;
    shown[base + "-max-length"] = limit.burst_seconds;
  }
  shown["iops-size"] = limits.operation_bytes;
  return shown;
}

std::shared_ptr<ThrottleGroup> FindThrottleGroup(const ObjectRegistry& objects,
                                                 std::string_view id) {
  auto* object = static_cast<ThrottleObject*>(objects.Find("throttle-group", id));
  return object == nullptr ? nullptr : object->group;
}

void LiftThrottleGroupLimits(const ObjectRegistry& objects) {
  for (const std::string& id : objects.IdsOf("throttle-group")) {
    FindThrottleGroup(objects, id)->SetLimits({}).IgnoreError();
  }
}

void RegisterThrottleGroups(BlockLayer& layer) {
  Scheduler& scheduler = layer.host().engine.scheduler();
  layer.host().objects.RegisterType(
      "throttle-group",
      [&scheduler](std::string_view id,
                   ArgumentReader& reader) -> absl::StatusOr<std::unique_ptr<UserObject>> {
        ThrottleLimits limits;
        if (auto nested = reader.OptionalObject("limits")) {
          ReadThrottleLimits(*nested, LimitNames::kOfGroups, "", &limits);
          MILLRACE_RETURN_IF_ERROR(nested->Finish());
        }
        ReadThrottleLimits(reader, LimitNames::kOfGroups, "x-", &limits);
        MILLRACE_RETURN_IF_ERROR(reader.Finish());
        MILLRACE_RETURN_IF_ERROR(CheckThrottleLimits(limits));
        return std::make_unique<ThrottleObject>(
            std::make_shared<ThrottleGroup>(scheduler, std::string(id), limits));
      });
}

}  // namespace millrace
