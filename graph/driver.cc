#include "millrace/graph/driver.h"

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

absl::Status Unsupported(const Driver& driver, std::string_view what) {
  return absl::UnimplementedError(
      StrCat("driver '", driver.driver_name(), "' does not support ", what));
}

}  // namespace

Permissions Driver::DerivePermissions(const PermissionContext& context) const {
  switch (context.role) {
    case Role::kBacking:
      return DeriveForBacking(context);
    case Role::kPrimary:
      return DeriveForPrimary(context);
    case Role::kData:
      return DeriveForData(context);
    case Role::kFiltered:
    case Role::kRoot:
      break;
  }
  return DeriveForFilter(context);
}

absl::StatusOr<std::unique_ptr<BatchAllocation>> FormatDriver::CoAllocateBatch(
    absl::Span<const ByteRange>, WriteFlags) {
  return std::unique_ptr<BatchAllocation>();
}
absl::Status FormatDriver::CoLinkBatch(BatchAllocation&) { return absl::OkStatus(); }
absl::Status FormatDriver::CoReadEncoded(ByteRange, const IoVector&) {
  return Unsupported(*this, "encoded data");
}
absl::Status FormatDriver::CoWriteOpaque(Allocation&, uint64_t, const IoVector&) {
  return Unsupported(*this, "data without a primary child");
}
absl::Status FormatDriver::CoWriteZeroes(ByteRange, ZeroFlags) {
  return Unsupported(*this, "zero clusters");
}
absl::Status FormatDriver::CoDiscard(ByteRange) { return absl::OkStatus(); }
absl::Status FormatDriver::CoForget(ByteRange) {
  return Unsupported(*this, "forgetting what it holds");
}
absl::Status FormatDriver::CoResize(uint64_t, ResizeFlags) {
  return Unsupported(*this, "resizing");
}
absl::Status FormatDriver::CoWriteBackingReference(const BackingReference&) {
  return Unsupported(*this, "backing files");
}

absl::Status ProtocolDriver::CoReadScattered(absl::Span<const IoPart> parts) {
  for (const IoPart& part : parts) {
    MILLRACE_RETURN_IF_ERROR(CoRead(part.offset, part.memory));
  }
  return absl::OkStatus();
}
absl::Status ProtocolDriver::CoWriteScattered(absl::Span<const IoPart> parts) {
  for (const IoPart& part : parts) {
    MILLRACE_RETURN_IF_ERROR(CoWrite(part.offset, part.memory, {}));
  }
  return absl::OkStatus();
}

absl::Status FilterDriver::CoOpen(DriverContext& context) {
  context_ = &context;
  return CoOpenFilter();
}
uint64_t FilterDriver::bytes() const {
  return context_ == nullptr ? 0 : context_->ChildBytes(Role::kFiltered);
}
absl::Status FilterDriver::CoRead(uint64_t offset, const IoVector& target) {
  return context_->CoReadChild(Role::kFiltered, offset, target);
}
absl::Status FilterDriver::CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) {
  return context_->CoWriteChild(Role::kFiltered, offset, source, flags);
}
absl::Status FilterDriver::CoWriteZeroes(ByteRange range, ZeroFlags flags) {
  return context_->CoWriteZeroesChild(Role::kFiltered, range, flags);
}
absl::Status FilterDriver::CoDiscard(ByteRange range) {
  return context_->CoDiscardChild(Role::kFiltered, range);
}
absl::Status FilterDriver::CoFlush() { return context_->CoFlushChild(Role::kFiltered); }
absl::Status FilterDriver::CoResize(uint64_t bytes) {
  return context_->CoResizeChild(Role::kFiltered, bytes);
}
void FilterDriver::CoEvent(std::string_view) {}

std::optional<Role> FormatDriver::RoleOfChild(std::string_view name) const {
  if (name == "file" && has_primary()) return Role::kPrimary;
  return std::nullopt;
}

std::optional<Role> FilterDriver::RoleOfChild(std::string_view name) const {
  if (name == filtered_edge_name()) return Role::kFiltered;
  return std::nullopt;
}

absl::Status DriverContext::CoReadChildParts(ChildKey child, absl::Span<const ChainPart> parts,
                                             const IoVector& memory) {
  uint64_t done = 0;
  for (const ChainPart& part : parts) {
    MILLRACE_RETURN_IF_ERROR(
        CoReadChild(child, part.range.offset, memory.Slice(done, part.range.bytes)));
    done += part.range.bytes;
  }
  return absl::OkStatus();
}
absl::Status DriverContext::CoWriteChildParts(ChildKey child, absl::Span<const ByteRange> ranges,
                                              const IoVector& memory, WriteFlags flags) {
  uint64_t done = 0;
  for (const ByteRange& range : ranges) {
    MILLRACE_RETURN_IF_ERROR(
        CoWriteChild(child, range.offset, memory.Slice(done, range.bytes), flags));
    done += range.bytes;
  }
  return absl::OkStatus();
}

absl::StatusOr<ChainExtent> DriverContext::CoMapChildChain(ChildKey, ByteRange, std::string_view) {
  return absl::UnimplementedError("this driver context knows no backing chains");
}

}  // namespace millrace
