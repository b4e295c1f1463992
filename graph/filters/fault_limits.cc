#include "millrace/graph/filters/fault_limits.h"

#include <algorithm>
#include <climits>
#include <string_view>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

absl::Status Unmet(std::string_view name, uint64_t value) {
  Conflict conflict;
  conflict.reason = ConflictReason::kInvalidOption;
  conflict.object = "blkdebug";
  conflict.detail = StrCat("fault-limit ", name, " ", value);
  conflict.next_step = "choose a multiple of the alignment below 2 GiB";
  return ConflictStatus(
      absl::StatusCode::kInvalidArgument, conflict,
      StrCat("fault injection cannot keep to ", name, " ", value, "; ", conflict.next_step));
}

}  // namespace

absl::Status FaultLimits::Validate() const {
  if (align >= INT_MAX || (align != 0 && !IsPowerOfTwo(align))) return Unmet("align", align);
  const uint64_t unit = std::max<uint64_t>(align, 1);
  const auto is_met = [](uint64_t value, uint64_t multiple_of) {
    return value == 0 || (value < INT_MAX && value % multiple_of == 0);
  };
  if (!is_met(max_transfer, unit)) return Unmet("max-transfer", max_transfer);
  if (!is_met(opt_write_zero, unit)) return Unmet("opt-write-zero", opt_write_zero);
  if (!is_met(max_write_zero, std::max(opt_write_zero, unit))) {
    return Unmet("max-write-zero", max_write_zero);
  }
  if (!is_met(opt_discard, unit)) return Unmet("opt-discard", opt_discard);
  if (!is_met(max_discard, std::max(opt_discard, unit))) {
    return Unmet("max-discard", max_discard);
  }
  return absl::OkStatus();
}

ByteRange FaultLimits::BlocksAround(ByteRange range) const {
  if (align <= 1) return range;
  const uint64_t from = AlignDown(range.offset, align);
  return ByteRange(from, AlignUp(range.end(), align) - from);
}

std::vector<ByteRange> SplitRange(ByteRange range, uint64_t most) {
  std::vector<ByteRange> parts;
  while (!range.empty()) {
    const uint64_t bytes = most == 0 ? range.bytes : std::min(range.bytes, most);
    parts.emplace_back(range.offset, bytes);
    range = ByteRange(range.offset + bytes, range.bytes - bytes);
  }
  return parts;
}

}  // namespace millrace
