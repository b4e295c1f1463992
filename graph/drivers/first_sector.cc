#include "millrace/graph/drivers/first_sector.h"

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"

namespace millrace {
namespace {

// How much of a range lies in the sector.
uint64_t BytesInside(ByteRange range) {
  return std::min(range.bytes, kProbeBytes - std::min<uint64_t>(range.offset, kProbeBytes));
}

}  // namespace

absl::Status FirstSector::CoWrite(DriverContext& context, uint64_t offset, const IoVector& source) {
  const ByteRange range(offset, source.bytes());
  MutexLock lock(CoHold(mutex_));
  MILLRACE_ASSIGN_OR_RETURN(Bytes bytes, CoRead(context, range));
  source.CopyTo(0, bytes.data() + offset, BytesInside(range));
  MILLRACE_RETURN_IF_ERROR(Check(context, bytes));
  return context.CoWriteChild(Role::kPrimary, offset, source, {});
}

absl::Status FirstSector::CoWriteZeroes(DriverContext& context, ByteRange range, ZeroFlags flags) {
  MutexLock lock(CoHold(mutex_));
  MILLRACE_ASSIGN_OR_RETURN(Bytes bytes, CoRead(context, range));
  std::fill_n(bytes.data() + range.offset, BytesInside(range), uint8_t{0});
  MILLRACE_RETURN_IF_ERROR(Check(context, bytes));
  return context.CoWriteZeroesChild(Role::kPrimary, range, flags);
}

ByteRange FirstSector::ToDiscard(ByteRange range) {
  if (!Touches(range) || (range.offset == 0 && range.end() >= kProbeBytes)) return range;
  const uint64_t first = std::min<uint64_t>(kProbeBytes, range.end());
  return ByteRange(first, range.end() - first);
}

absl::StatusOr<FirstSector::Bytes> FirstSector::CoRead(DriverContext& context, ByteRange replaced) {
  Bytes bytes{};
  const uint64_t there = std::min<uint64_t>(context.ChildBytes(Role::kPrimary), bytes.size());
  if (there == 0 || (replaced.offset == 0 && replaced.end() >= there)) return bytes;
  MILLRACE_RETURN_IF_ERROR(context.CoReadChild(Role::kPrimary, 0, IoVector(bytes.data(), there)));
  return bytes;
}

absl::Status FirstSector::Check(const DriverContext& context, const Bytes& bytes) {
  const std::string_view format = ProbeFormat(bytes);
  if (format == "raw") return absl::OkStatus();
  return ErrnoStatus(
      EPERM, StrCat("write to the first sector of '", context.node_name(),
                    "': its format was guessed to be raw, and it would look like ", format,
                    " afterwards; open it as raw, by that name, and anything may be written"));
}

}  // namespace millrace
