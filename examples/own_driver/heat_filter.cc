#include "examples/own_driver/heat_filter.h"

#include <algorithm>
#include <cstddef>

#include "millrace/engine/base/status_macros.h"

namespace millrace::example {

absl::Status HeatFilter::CoRead(uint64_t offset, const IoVector& target) {
  MILLRACE_RETURN_IF_ERROR(context().CoReadChild(Role::kFiltered, offset, target));
  Count(heat_->read, offset, target.bytes());
  return absl::OkStatus();
}

absl::Status HeatFilter::CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) {
  MILLRACE_RETURN_IF_ERROR(context().CoWriteChild(Role::kFiltered, offset, source, flags));
  Count(heat_->written, offset, source.bytes());
  return absl::OkStatus();
}

// No lock: coroutines switch only where they suspend, and nothing here does.
void HeatFilter::Count(std::vector<uint64_t>& parts, uint64_t offset, uint64_t bytes) {
  while (bytes > 0) {
    const size_t part = offset / heat_->part_bytes;
    const uint64_t here = std::min(bytes, (part + 1) * heat_->part_bytes - offset);
    if (parts.size() <= part) parts.resize(part + 1);
    parts[part] += here;
    offset += here;
    bytes -= here;
  }
}

absl::Status RegisterHeatFilter(DriverRegistry& registry,
                                std::vector<std::shared_ptr<Heat>>& heats) {
  const auto make =
      [&heats](const DriverOptions& options) -> absl::StatusOr<std::unique_ptr<Driver>> {
    DriverOptionReader reader("heat", options);
    uint64_t part_bytes = 1 << 20;
    MILLRACE_RETURN_IF_ERROR(reader.Read("part-size", &part_bytes));
    MILLRACE_RETURN_IF_ERROR(reader.Finish());
    if (part_bytes == 0) return reader.Bad("part-size", "a size of at least 1");
    heats.push_back(std::make_shared<Heat>(part_bytes));
    return std::make_unique<HeatFilter>(heats.back());
  };
  return registry.Register("heat", make, NodeKind::kFilter);
}

}  // namespace millrace::example
