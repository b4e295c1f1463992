#include "millrace/graph/filters/copy_on_read.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/engine/sync/range_lock.h"

namespace millrace {
namespace {

// One piece is read and written back at a time; bounds the memory that a large read takes.
constexpr uint64_t kPieceBytesMax = uint64_t{1} << 20;

class CopyOnReadDriver final : public FilterDriver {
 public:
  explicit CopyOnReadDriver(CopyOnReadOptions options)
      : bottom_(std::move(options.bottom)),
        is_unleasable_(options.is_unleasable),
        reads_pass_(std::move(options.reads_pass)) {}

  std::string_view driver_name() const override { return "copy-on-read"; }
  bool is_transparent_for_reads() const override { return reads_pass_ != nullptr && *reads_pass_; }
  bool is_transparent_for_writes() const override { return true; }
  bool is_unleasable() const override { return is_unleasable_; }

  Permissions DerivePermissions(const PermissionContext& context) const override {
    constexpr PermissionSet kPassed = kConsistentRead | kWrite | kResize;
    return {(context.parents.used & kPassed) | kWriteUnchanged,
            (context.parents.shared & kPassed) | kWriteUnchanged};
  }
  Permissions DeriveReserved(const PermissionContext& context) const override {
    return is_unleasable_ ? DeriveForFilter(context) : DerivePermissions(context);
  }

  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND;
  absl::Status CoPrefetch(absl::Span<const ChainPart> parts) override MILLRACE_MAY_SUSPEND;

 private:
  bool MustCopy(ChainExtent::Layer layer) const {
    if (layer == ChainExtent::Layer::kBelow) return bottom_.empty();
    return layer == ChainExtent::Layer::kBetween;
  }
  absl::Status CoReadAndKeep(uint64_t offset, const IoVector& target) MILLRACE_MAY_SUSPEND;

  const std::string bottom_;
  const bool is_unleasable_;
  const std::shared_ptr<const bool> reads_pass_;
};

absl::Status CopyOnReadDriver::CoRead(uint64_t offset, const IoVector& target) {
  for (uint64_t done = 0; done < target.bytes();) {
    const ByteRange rest(offset + done, target.bytes() - done);
    MILLRACE_ASSIGN_OR_RETURN(const ChainExtent extent,
                              context().CoMapChildChain(Role::kFiltered, rest, bottom_));
    const bool must_copy = MustCopy(extent.layer);
    const uint64_t bytes = must_copy ? std::min(extent.bytes, kPieceBytesMax) : extent.bytes;
    const IoVector piece = target.Slice(done, bytes);
    if (must_copy) {
      MILLRACE_RETURN_IF_ERROR(CoReadAndKeep(rest.offset, piece));
    } else {
      MILLRACE_RETURN_IF_ERROR(context().CoReadChild(Role::kFiltered, rest.offset, piece));
    }
    done += bytes;
  }
  return absl::OkStatus();
}

// Through memory of our own: a guest may change its buffer between the read and the write, and what
// is written must be what was read. Somebody may have written there since we asked; then the child
// keeps that, and the read answers with what it saw, as two requests at one time may.
absl::Status CopyOnReadDriver::CoReadAndKeep(uint64_t offset, const IoVector& target) {
  MILLRACE_ASSIGN_OR_RETURN(IoBuffer buffer,
                            context().engine().buffers().TryTake(target.bytes(), "copy on read"));
  const IoVector copy(buffer.data(), target.bytes());
  MILLRACE_MUTANT(kR70) {  // its own read is one like any other: in its turn, and kept
    auto& turns = MutantNote<std::shared_ptr<RangeLock>>(this);
    if (turns == nullptr) turns = std::make_shared<RangeLock>("copies on read");
    RangeLock::Hold turn;
    turns->CoAcquire(ByteRange(offset, copy.bytes()), LockMode::kExclusive, turn);
    MILLRACE_RETURN_IF_ERROR(CoRead(offset, copy));
  }
  MILLRACE_RETURN_IF_ERROR(context().CoReadChild(Role::kFiltered, offset, copy));
  target.CopyFrom(0, buffer.data(), target.bytes());
  context().CoEvent("cor_write");
  if (copy.IsZero()) {
    return context().CoWriteZeroesChild(Role::kFiltered, ByteRange(offset, target.bytes()),
                                        {.may_unmap = true, .only_if_unallocated = true});
  }
  MILLRACE_MUTANT(kM06) return context().CoWriteChild(Role::kFiltered, offset, copy, {});
  return context().CoWriteChild(Role::kFiltered, offset, copy, {.only_if_unallocated = true});
}

// Nobody wants to see the bytes, so they are not looked for twice: what the child has by now it
// keeps, whatever we bring.
absl::Status CopyOnReadDriver::CoPrefetch(absl::Span<const ChainPart> parts) {
  uint64_t bytes = 0;
  for (const ChainPart& part : parts) bytes += part.range.bytes;
  MILLRACE_ASSIGN_OR_RETURN(IoBuffer buffer,
                            context().engine().buffers().TryTake(bytes, "copy on read"));
  const IoVector copy(buffer.data(), bytes);
  // Where it costs nothing, not even a look at which of it is zeroes.
  if (context().CoKeepChildParts(Role::kFiltered, parts, copy)) return absl::OkStatus();
  MILLRACE_RETURN_IF_ERROR(context().CoReadChildParts(Role::kFiltered, parts, copy));
  context().CoEvent("cor_write");
  std::vector<ByteRange> data;
  IoVector memory;
  uint64_t done = 0;
  for (const ChainPart& part : parts) {
    const IoVector piece = copy.Slice(done, part.range.bytes);
    done += part.range.bytes;
    if (piece.IsZero()) {
      MILLRACE_RETURN_IF_ERROR(context().CoWriteZeroesChild(
          Role::kFiltered, part.range, {.may_unmap = true, .only_if_unallocated = true}));
    } else {
      data.push_back(part.range);
      memory.Append(piece);
    }
  }
  MILLRACE_MUTANT(kM06) return context().CoWriteChildParts(Role::kFiltered, data, memory, {});
  return context().CoWriteChildParts(Role::kFiltered, data, memory, {.only_if_unallocated = true});
}

}  // namespace

std::unique_ptr<FilterDriver> MakeCopyOnReadDriver(CopyOnReadOptions options) {
  return std::make_unique<CopyOnReadDriver>(std::move(options));
}

}  // namespace millrace
