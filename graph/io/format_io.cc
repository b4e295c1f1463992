#include "millrace/graph/io/format_io.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/io_buffer.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/graph/io/chain_index.h"
#include "millrace/graph/io/node_io.h"
#include "millrace/graph/io/protocol_io.h"

namespace millrace {
namespace {

constexpr uint64_t kZeroPieceBytes = 64 * 1024;
constexpr uint64_t kSectorBytes = 512;

// What the layers below show; zeroes beyond their end, or without any.
absl::Status CoReadBacking(Node& node, uint64_t offset, const IoVector& target)
    MILLRACE_MAY_SUSPEND {
  Edge* edge = node.FindChild(Role::kBacking);
  uint64_t inside = 0;
  if (edge != nullptr) {
    const uint64_t backing_bytes = edge->child->driver->bytes();
    inside = offset >= backing_bytes ? 0 : std::min(target.bytes(), backing_bytes - offset);
  }
  target.Fill(inside, 0, target.bytes() - inside);
  if (inside == 0) return absl::OkStatus();
  ChainIndex* const index = ChainIndex::Of(node);
  if (index == nullptr) return CoReadNode(*edge->child, offset, target.Slice(0, inside));
  for (uint64_t done = 0; done < inside;) {
    ByteRange part(offset + done, inside - done);
    Node* const layer = index->CoFind(node, part);
    MILLRACE_RETURN_IF_ERROR(CoReadNode(layer != nullptr ? *layer : *edge->child, part.offset,
                                        target.Slice(done, part.bytes)));
    done += part.bytes;
  }
  return absl::OkStatus();
}

absl::Status CoReadExtent(Node& node, FormatDriver& driver, const Extent& extent, uint64_t offset,
                          const IoVector& target) MILLRACE_MAY_SUSPEND {
  switch (extent.kind) {
    case ExtentKind::kZero:
      target.FillZero();
      return absl::OkStatus();
    case ExtentKind::kUnallocated:
      if (Edge* primary = node.FindChild(Role::kPrimary);
          primary != nullptr && node.FindChild(Role::kBacking) != nullptr) {
        CoRaiseEvent(*primary->child, "read_backing_aio");
      }
      return CoReadBacking(node, offset, target);
    case ExtentKind::kEncoded:
    case ExtentKind::kOpaque:
      return driver.CoReadEncoded(ByteRange(offset, target.bytes()), target);
    case ExtentKind::kData:
      break;
  }
  Node& primary = *node.FindChild(Role::kPrimary)->child;
  CoRaiseEvent(primary, "read_aio");
  return CoReadNode(primary, extent.host.value(), target);
}

// Everything an allocation must hold before it is linked: the source, and around it what is visible
// now. `bounce` owns the memory of the surroundings.
absl::StatusOr<IoVector> CoAssemble(Node& node, FormatDriver& driver, const Allocation& allocation,
                                    const IoVector& source, IoBuffer* bounce) MILLRACE_MAY_SUSPEND {
  const ByteRange& before = allocation.fill_before();
  const ByteRange& after = allocation.fill_after();
  if (before.empty() && after.empty()) return source;
  MILLRACE_ASSIGN_OR_RETURN(*bounce, TakeBounceBuffer(node, before.bytes + after.bytes));
  const IoVector head(bounce->data(), before.bytes);
  const IoVector tail(bounce->data() + before.bytes, after.bytes);
  if (Edge* primary = node.FindChild(Role::kPrimary)) CoRaiseEvent(*primary->child, "cow_read");
  MILLRACE_RETURN_IF_ERROR(CoReadFormat(node, driver, before.offset, head));
  MILLRACE_RETURN_IF_ERROR(CoReadFormat(node, driver, after.offset, tail));
  IoVector whole = head;
  whole.Append(source);
  whole.Append(tail);
  return whole;
}

absl::Status CoWriteAllocation(Node& node, FormatDriver& driver, Allocation& allocation,
                               uint64_t offset, const IoVector& source) MILLRACE_MAY_SUSPEND {
  IoBuffer bounce;
  MILLRACE_ASSIGN_OR_RETURN(IoVector whole, CoAssemble(node, driver, allocation, source, &bounce));
  const uint64_t before = allocation.fill_before().bytes;
  if (!driver.has_primary()) return driver.CoWriteOpaque(allocation, offset - before, whole);
  Node& primary = *node.FindChild(Role::kPrimary)->child;
  CoRaiseEvent(primary, "write_aio");
  // What is around goes along, in one write: both are told, as in QEMU.
  if (bounce.data() != nullptr) CoRaiseEvent(primary, "cow_write");
  if (allocation.is_opaque()) return driver.CoWriteOpaque(allocation, offset - before, whole);
  return CoWriteNode(primary, allocation.host().value() - before, whole, {});
}

}  // namespace

absl::Status CoReadFormat(Node& node, FormatDriver& driver, uint64_t offset,
                          const IoVector& target) {
  std::optional<uint64_t> overwritten;  // where encoded bytes were, as far as is known
  for (uint64_t done = 0; done < target.bytes();) {
    const uint64_t position = offset + done;
    uint64_t asked = target.bytes() - done;
    if (MILLRACE_BUGGIFY("format: reads sector by sector")) asked = std::min(asked, kSectorBytes);
    MILLRACE_ASSIGN_OR_RETURN(Extent extent, driver.CoMap(ByteRange(position, asked)));
    MILLRACE_CHECK(extent.bytes > 0 && extent.bytes <= target.bytes() - done,
                   "a driver mapped nothing, or more than asked");
    const absl::Status status =
        CoReadExtent(node, driver, extent, position, target.Slice(done, extent.bytes));
    // Somebody has written there since it was mapped. What is encoded there now never was before:
    // the second time it is an error of the file's.
    if (absl::IsAborted(status) && extent.kind == ExtentKind::kEncoded && overwritten != position) {
      overwritten = position;
      continue;
    }
    MILLRACE_RETURN_IF_ERROR(status);
    done += extent.bytes;
  }
  return absl::OkStatus();
}

absl::Status CoWriteFormat(Node& node, FormatDriver& driver, uint64_t offset,
                           const IoVector& source, WriteFlags flags) {
  for (uint64_t done = 0; done < source.bytes();) {
    const uint64_t position = offset + done;
    uint64_t asked = source.bytes() - done;
    if (MILLRACE_BUGGIFY("format: writes sector by sector")) asked = std::min(asked, kSectorBytes);
    MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<Allocation> allocation,
                              driver.CoAllocate(ByteRange(position, asked), flags));
    if (allocation->bytes() == 0) {
      MILLRACE_SOMETIMES(true, "format: somebody was faster to fill what was unallocated");
      // Somebody else's data are here already; ours would be the same or older.
      MILLRACE_CHECK(flags.only_if_unallocated && allocation->skip_bytes() > 0,
                     "an allocation made no progress");
      done += allocation->skip_bytes();
      driver.CoAbandon(*allocation);
      continue;
    }
    absl::Status status = CoWriteAllocation(node, driver, *allocation, position,
                                            source.Slice(done, allocation->bytes()));
    if (!status.ok()) {
      driver.CoAbandon(*allocation);
      return status;
    }
    status = driver.CoLink(*allocation);
    if (allocation->needs_link()) ++node.mapping_revision;
    MILLRACE_RETURN_IF_ERROR(status);
    done += allocation->bytes();
  }
  return flags.force_unit_access ? CoFlushNode(node) : absl::OkStatus();
}

namespace {

// Zeroes written as data: the parts that the format cannot mark, or all of it.
absl::Status CoWriteZeroData(Node& node, FormatDriver& driver, ByteRange range, ZeroFlags flags)
    MILLRACE_MAY_SUSPEND {
  if (range.empty()) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(IoBuffer zeroes,
                            TakeBounceBuffer(node, std::min(range.bytes, kZeroPieceBytes)));
  IoVector(zeroes.data(), zeroes.bytes()).FillZero();
  WriteFlags write_flags;
  write_flags.only_if_unallocated = flags.only_if_unallocated;
  for (uint64_t done = 0; done < range.bytes;) {
    const uint64_t piece = std::min(range.bytes - done, kZeroPieceBytes);
    MILLRACE_RETURN_IF_ERROR(CoWriteFormat(node, driver, range.offset + done,
                                           IoVector(zeroes.data(), piece), write_flags));
    done += piece;
  }
  return absl::OkStatus();
}

// Whether metadata alone says that all of `range` reads as zeroes.
absl::StatusOr<bool> CoReadsAsZeroes(Node& node, ByteRange range) MILLRACE_MAY_SUSPEND {
  while (!range.empty()) {
    MILLRACE_ASSIGN_OR_RETURN(const AllocationRun run,
                              CoAllocationInChain(node, range, nullptr, nullptr));
    if (run.is_allocated && !run.is_zero) return false;
    range = ByteRange(range.offset + run.bytes, range.bytes - run.bytes);
  }
  return true;
}

// Whether the unit can be marked as zero for the sake of `part`: nothing is written there, and what
// shows through around the part are zeroes.
absl::StatusOr<bool> CoMayMarkUnit(Node& node, FormatDriver& driver, ByteRange unit, ByteRange part)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(const Extent extent, driver.CoMap(part));
  if (extent.kind != ExtentKind::kUnallocated && extent.kind != ExtentKind::kZero) return false;
  MILLRACE_ASSIGN_OR_RETURN(const bool before,
                            CoReadsAsZeroes(node, {unit.offset, part.offset - unit.offset}));
  if (!before) return false;
  return CoReadsAsZeroes(node, {part.end(), unit.end() - part.end()});
}

// Zeroes in a part of a unit; the whole of it is marked where that changes nothing else, as in
// QEMU, and space is taken only where it does not.
absl::Status CoZeroPartOfUnit(Node& node, FormatDriver& driver, ByteRange part, ZeroFlags flags)
    MILLRACE_MAY_SUSPEND {
  if (part.empty()) return absl::OkStatus();
  const uint64_t begin = AlignDown(part.offset, driver.zero_granularity());
  const uint64_t end = std::min(begin + driver.zero_granularity(), driver.bytes());
  const ByteRange unit(begin, end - begin);
  MILLRACE_ASSIGN_OR_RETURN(const bool may_mark, CoMayMarkUnit(node, driver, unit, part));
  if (may_mark) {
    // Others may have written to the unit meanwhile: theirs stays.
    const absl::Status status =
        driver.CoWriteZeroes(unit, {.may_unmap = flags.may_unmap, .only_if_unallocated = true});
    ++node.mapping_revision;
    if (!status.ok() && !absl::IsUnimplemented(status)) return status;
    if (status.ok()) {
      MILLRACE_ASSIGN_OR_RETURN(const bool is_done, CoReadsAsZeroes(node, part));
      if (is_done) return absl::OkStatus();
    }
  }
  return CoWriteZeroData(node, driver, part, flags);
}

}  // namespace

absl::Status CoWriteZeroesFormat(Node& node, FormatDriver& driver, ByteRange range,
                                 ZeroFlags flags) {
  const uint64_t granularity = driver.zero_granularity();
  const uint64_t end = range.end() == driver.bytes() ? range.end() : 0;
  const uint64_t from = std::min(AlignUp(range.offset, granularity), range.end());
  const uint64_t to = std::max(end != 0 ? end : AlignDown(range.end(), granularity), from);
  MILLRACE_RETURN_IF_ERROR(
      CoZeroPartOfUnit(node, driver, ByteRange(range.offset, from - range.offset), flags));
  if (from < to) {
    absl::Status status = driver.CoWriteZeroes(ByteRange(from, to - from), flags);
    ++node.mapping_revision;
    if (absl::IsUnimplemented(status) && end != 0 && driver.bytes() > end) {
      // The image has grown since, so its last unit has more in it now than was asked for.
      MILLRACE_SOMETIMES(true, "format: an image grows while its end is being zeroed");
      return CoWriteZeroesFormat(node, driver, ByteRange(from, range.end() - from), flags);
    }
    if (absl::IsUnimplemented(status)) {
      status = CoWriteZeroData(node, driver, ByteRange(from, to - from), flags);
    }
    MILLRACE_RETURN_IF_ERROR(status);
  }
  return CoZeroPartOfUnit(node, driver, ByteRange(to, range.end() - to), flags);
}

absl::Status CoDiscardFormat(Node& node, FormatDriver& driver, ByteRange range) {
  const uint64_t granularity = driver.zero_granularity();
  const uint64_t from = AlignUp(range.offset, granularity);
  const uint64_t to =
      range.end() == driver.bytes() ? range.end() : AlignDown(range.end(), granularity);
  if (from >= to) return absl::OkStatus();
  absl::Status status = driver.CoDiscard(ByteRange(from, to - from));
  ++node.mapping_revision;
  return status;
}

namespace {

// The unit in which the image ends gets its content, if it has none of its own: what the backing
// has behind the end would show through once the image is longer.
absl::Status CoFillLastUnit(Node& node, FormatDriver& driver) MILLRACE_MAY_SUSPEND {
  const uint64_t end = driver.bytes();
  if (end % driver.zero_granularity() == 0) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(IoBuffer last, TakeBounceBuffer(node, 1));
  const IoVector byte(last.data(), 1);
  MILLRACE_RETURN_IF_ERROR(CoReadFormat(node, driver, end - 1, byte));
  WriteFlags fill;
  fill.only_if_unallocated = true;  // a guest that writes there meanwhile is not overwritten
  return CoWriteFormat(node, driver, end - 1, byte, fill);
}

}  // namespace

absl::Status CoResizeFormat(Node& node, FormatDriver& driver, uint64_t bytes) {
  const Edge* backing = node.FindChild(Role::kBacking);
  const uint64_t old_bytes = driver.bytes();
  ResizeFlags flags;
  flags.zero_new_part =
      bytes > old_bytes && backing != nullptr && backing->child->driver->bytes() > old_bytes;
  if (flags.zero_new_part) MILLRACE_RETURN_IF_ERROR(CoFillLastUnit(node, driver));
  absl::Status status = driver.CoResize(bytes, flags);
  ++node.mapping_revision;
  return status;
}

}  // namespace millrace
