#include "millrace/graph/drivers/qcow2/image_file.h"

#include <algorithm>
#include <utility>

namespace millrace {
namespace {

// The part of `target` that lies inside a file of `bytes` bytes; the rest is filled with zeroes.
IoVector ClipRead(uint64_t offset, const IoVector& target, uint64_t bytes) {
  const uint64_t inside = offset >= bytes ? 0 : std::min(target.bytes(), bytes - offset);
  if (inside == target.bytes()) return target;
  target.Fill(inside, 0, target.bytes() - inside);
  return target.Slice(0, inside);
}

}  // namespace

absl::Status ChildFile::CoRead(uint64_t offset, const IoVector& target) {
  const IoVector inside = ClipRead(offset, target, bytes());
  if (inside.bytes() == 0) return absl::OkStatus();
  return context_.CoReadChild(Role::kPrimary, offset, inside);
}
absl::Status ChildFile::CoWrite(uint64_t offset, const IoVector& source) {
  return context_.CoWriteChild(Role::kPrimary, offset, source, {});
}
absl::Status ChildFile::CoWriteZeroes(ByteRange range) {
  return context_.CoWriteZeroesChild(Role::kPrimary, range, {});
}
absl::Status ChildFile::CoDiscard(ByteRange range) {
  return context_.CoDiscardChild(Role::kPrimary, range);
}
absl::Status ChildFile::CoFlush() { return context_.CoFlushChild(Role::kPrimary); }
absl::Status ChildFile::CoResize(uint64_t bytes) {
  return context_.CoResizeChild(Role::kPrimary, bytes);
}
absl::Status ChildFile::CoReserve(ByteRange range) {
  return context_.CoReserveInChild(Role::kPrimary, range);
}
void ChildFile::CoEvent(std::string_view event) { context_.CoEvent(event); }

absl::Status ProtocolFile::CoRead(uint64_t offset, const IoVector& target) {
  const IoVector inside = ClipRead(offset, target, bytes());
  if (inside.bytes() == 0) return absl::OkStatus();
  return driver_.CoRead(offset, inside);
}
absl::Status ProtocolFile::CoWrite(uint64_t offset, const IoVector& source) {
  return driver_.CoWrite(offset, source, {});
}
absl::Status ProtocolFile::CoWriteZeroes(ByteRange range) {
  return driver_.CoWriteZeroes(range, {});
}
absl::Status ProtocolFile::CoDiscard(ByteRange range) { return driver_.CoDiscard(range); }
absl::Status ProtocolFile::CoFlush() { return driver_.CoFlush(); }
absl::Status ProtocolFile::CoResize(uint64_t bytes) { return driver_.CoResize(bytes); }

}  // namespace millrace
