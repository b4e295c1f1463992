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

}  // namespace millrace::example
