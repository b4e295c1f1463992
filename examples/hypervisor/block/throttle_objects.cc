#include "examples/hypervisor/block/throttle_objects.h"

#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

struct ThrottleObject final : UserObject {
  explicit ThrottleObject(std::shared_ptr<ThrottleGroup> its_group) : group(std::move(its_group)) {}
  // The filters hold it too.
  bool is_in_use() const override { return group.use_count() > 1; }

  const std::shared_ptr<ThrottleGroup> group;
};

// Reads one limit in both spellings: "x-bps-total" and, inside `limits`, "bps-total".
void ReadLimit(ArgumentReader& reader, std::string_view prefix, std::string_view name,
               ThrottleLimit* limit) {
  const std::string base = StrCat(prefix, name);
  if (auto value = reader.OptionalSize(base)) limit->average = *value;
  if (auto value = reader.OptionalSize(StrCat(base, "-max"))) limit->burst = *value;
  if (auto value = reader.OptionalSize(StrCat(base, "-max-length"))) limit->burst_seconds = *value;
}

void ReadLimits(ArgumentReader& reader, std::string_view prefix, ThrottleLimits* limits) {
  ReadLimit(reader, prefix, "bps-total", &limits->bytes_total);
  ReadLimit(reader, prefix, "bps-read", &limits->bytes_read);
  ReadLimit(reader, prefix, "bps-write", &limits->bytes_write);
  ReadLimit(reader, prefix, "iops-total", &limits->operations_total);
  ReadLimit(reader, prefix, "iops-read", &limits->operations_read);
  ReadLimit(reader, prefix, "iops-write", &limits->operations_write);
  if (auto value = reader.OptionalSize(StrCat(prefix, "iops-size"))) {
    limits->operation_bytes = *value;
  }
}

}  // namespace

std::shared_ptr<ThrottleGroup> FindThrottleGroup(const ObjectRegistry& objects,
                                                 std::string_view id) {
  auto* object = static_cast<ThrottleObject*>(objects.Find("throttle-group", id));
  return object == nullptr ? nullptr : object->group;
}

void RegisterThrottleGroups(BlockLayer& layer) {
  Scheduler& scheduler = layer.host().engine.scheduler();
  layer.host().objects.RegisterType(
      "throttle-group",
      [&scheduler](std::string_view id,
                   ArgumentReader& reader) -> absl::StatusOr<std::unique_ptr<UserObject>> {
        ThrottleLimits limits;
        if (auto nested = reader.OptionalObject("limits")) {
          ReadLimits(*nested, "", &limits);
          MILLRACE_RETURN_IF_ERROR(nested->Finish());
        }
        ReadLimits(reader, "x-", &limits);
        MILLRACE_RETURN_IF_ERROR(reader.Finish());
        MILLRACE_RETURN_IF_ERROR(limits.Validate());
        return std::make_unique<ThrottleObject>(
            std::make_shared<ThrottleGroup>(scheduler, std::string(id), limits));
      });
}

}  // namespace millrace
