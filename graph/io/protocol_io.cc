#include "millrace/graph/io/protocol_io.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/graph/graph.h"

namespace millrace {
namespace {

constexpr uint64_t kMemoryAlignment = 4096;
constexpr uint64_t kPageBytesMax = 65536;  // of any host

// Where memory lies, no seed repeats: a simulation looks at how long its pieces are only.
bool IsAlignedMemory(const Node& node, const IoVector& vector, uint64_t alignment) {
  if (!node.graph.engine().io().is_simulated()) return vector.IsAligned(alignment);
  const auto& pieces = vector.pieces();
  return std::all_of(pieces.begin(), pieces.end(), [alignment](const iovec& piece) {
    return IsAligned(piece.iov_len, alignment);
  });
}

bool IsAlignedRequest(const Node& node, uint64_t offset, const IoVector& vector,
                      uint64_t alignment) {
  return alignment <= 1 || (IsAligned(offset, alignment) && IsAligned(vector.bytes(), alignment) &&
                            IsAlignedMemory(node, vector, std::min(alignment, kMemoryAlignment)));
}

RangeLock& AlignmentLock(Node& node) {
  if (node.alignment_lock == nullptr) {
    node.alignment_lock = std::make_unique<RangeLock>(node.name);
  }
  return *node.alignment_lock;
}

// Reads the aligned blocks around an unaligned request into `bounce`.
absl::Status CoReadBlocks(ProtocolDriver& driver, ByteRange blocks, IoBuffer& bounce)
    MILLRACE_MAY_SUSPEND {
  return driver.CoRead(blocks.offset, IoVector(bounce.data(), blocks.bytes));
}

// Whether the last block that it touches is the file's last one and not whole: written as a block,
// it would make the file longer, and a raw disk with it.
bool EndsInPartialBlock(const ProtocolDriver& driver, ByteRange range) {
  const uint64_t bytes = driver.bytes();
  return range.end() <= bytes && range.end() > AlignDown(bytes, driver.io_alignment());
}

ByteRange BlocksAround(ByteRange range, uint64_t alignment) {
  const uint64_t from = AlignDown(range.offset, alignment);
  return ByteRange(from, AlignUp(range.end(), alignment) - from);
}

}  // namespace

absl::StatusOr<IoBuffer> TakeBounceBuffer(Node& node, uint64_t bytes) {
  return node.graph.engine().buffers().TryTake(bytes, node.name);
}

absl::Status CoReadProtocol(Node& node, ProtocolDriver& driver, uint64_t offset,
                            const IoVector& target) {
  const uint64_t alignment = driver.io_alignment();
  if (IsAlignedRequest(node, offset, target, alignment)) return driver.CoRead(offset, target);
  const ByteRange blocks = BlocksAround(ByteRange(offset, target.bytes()), alignment);
  MILLRACE_ASSIGN_OR_RETURN(IoBuffer bounce, TakeBounceBuffer(node, blocks.bytes));
  MILLRACE_RETURN_IF_ERROR(CoReadBlocks(driver, blocks, bounce));
  target.CopyFrom(0, bounce.data() + (offset - blocks.offset), target.bytes());
  return absl::OkStatus();
}

absl::Status CoWriteProtocol(Node& node, ProtocolDriver& driver, uint64_t offset,
                             const IoVector& source, WriteFlags flags) {
  const uint64_t alignment = driver.io_alignment();
  if (alignment <= 1) return driver.CoWrite(offset, source, flags);
  const ByteRange range(offset, source.bytes());
  RangeLock::Hold hold;
  if (EndsInPartialBlock(driver, range)) {
    // Through the host's cache, whose pages may reach farther than blocks do: a page that is read
    // while a block of it is written by others would later be written back as it was before.
    const ByteRange pages = BlocksAround(range, std::max(alignment, kPageBytesMax));
    AlignmentLock(node).CoAcquire(pages, LockMode::kExclusive, hold);
    return driver.CoWrite(offset, source, flags);
  }
  const ByteRange blocks = BlocksAround(range, alignment);
  const bool is_whole = blocks == range;
  AlignmentLock(node).CoAcquire(blocks, is_whole ? LockMode::kShared : LockMode::kExclusive, hold);
  if (IsAlignedRequest(node, offset, source, alignment))
    return driver.CoWrite(offset, source, flags);
  MILLRACE_ASSIGN_OR_RETURN(IoBuffer bounce, TakeBounceBuffer(node, blocks.bytes));
  if (!is_whole) MILLRACE_RETURN_IF_ERROR(CoReadBlocks(driver, blocks, bounce));
  source.CopyTo(0, bounce.data() + (offset - blocks.offset), source.bytes());
  return driver.CoWrite(blocks.offset, IoVector(bounce.data(), blocks.bytes), flags);
}

namespace {

bool AreAligned(const Node& node, absl::Span<const IoPart> parts, uint64_t alignment) {
  return std::all_of(parts.begin(), parts.end(), [&](const IoPart& part) {
    return IsAlignedRequest(node, part.offset, part.memory, alignment);
  });
}

// From the first byte of any part to the last.
ByteRange HullOf(absl::Span<const IoPart> parts) {
  uint64_t from = kBytesMax;
  uint64_t to = 0;
  for (const IoPart& part : parts) {
    from = std::min(from, part.offset);
    to = std::max(to, part.offset + part.memory.bytes());
  }
  return ByteRange(from, to - from);
}

}  // namespace

absl::Status CoReadProtocolParts(Node& node, ProtocolDriver& driver,
                                 absl::Span<const IoPart> parts) {
  if (parts.empty()) return absl::OkStatus();
  if (AreAligned(node, parts, driver.io_alignment())) return driver.CoReadScattered(parts);
  for (const IoPart& part : parts) {
    MILLRACE_RETURN_IF_ERROR(CoReadProtocol(node, driver, part.offset, part.memory));
  }
  return absl::OkStatus();
}

namespace {

absl::Status CoWriteParts(Node& node, ProtocolDriver& driver, absl::Span<const IoPart> parts)
    MILLRACE_MAY_SUSPEND {
  const uint64_t alignment = driver.io_alignment();
  if (alignment <= 1) return driver.CoWriteScattered(parts);
  if (AreAligned(node, parts, alignment)) {
    // One hold for all of them: a coroutine may hold one range of a lock at a time.
    RangeLock::Hold hold;
    AlignmentLock(node).CoAcquire(HullOf(parts), LockMode::kShared, hold);
    return driver.CoWriteScattered(parts);
  }
  for (const IoPart& part : parts) {
    MILLRACE_RETURN_IF_ERROR(CoWriteProtocol(node, driver, part.offset, part.memory, {}));
  }
  return absl::OkStatus();
}

bool CoShareParts(Node& node, ProtocolDriver& driver, ProtocolDriver& source,
                  absl::Span<const FileShare> shares, ShareBy by) MILLRACE_MAY_SUSPEND {
  if (driver.io_alignment() <= 1) return driver.CoShareFrom(source, shares, by);
  uint64_t from = kBytesMax;
  uint64_t to = 0;
  for (const FileShare& share : shares) {
    from = std::min(from, share.target_offset);
    to = std::max(to, share.target_offset + share.bytes);
  }
  RangeLock::Hold hold;
  AlignmentLock(node).CoAcquire(ByteRange(from, to - from), LockMode::kShared, hold);
  return driver.CoShareFrom(source, shares, by);
}

}  // namespace

absl::Status CoWriteProtocolParts(Node& node, ProtocolDriver& driver,
                                  absl::Span<const IoPart> parts) {
  if (parts.empty()) return absl::OkStatus();
  for (const IoPart& part : parts) node.NoteWrite(part.offset + part.memory.bytes());
  const absl::Status status = CoWriteParts(node, driver, parts);
  for (const IoPart& part : parts) node.NoteChange(ByteRange(part.offset, part.memory.bytes()));
  return status;
}

bool CoShareProtocol(Node& node, ProtocolDriver& driver, ProtocolDriver& source,
                     absl::Span<const FileShare> shares, ShareBy by) {
  for (const FileShare& share : shares) node.NoteWrite(share.target_offset + share.bytes);
  const bool is_shared = CoShareParts(node, driver, source, shares, by);
  // Some of it may have been, if not all was.
  for (const FileShare& share : shares) {
    node.NoteChange(ByteRange(share.target_offset, share.bytes));
  }
  return is_shared;
}

absl::Status CoWriteZeroesProtocol(Node& node, ProtocolDriver& driver, ByteRange range,
                                   ZeroFlags flags) {
  const uint64_t alignment = driver.io_alignment();
  if (alignment <= 1) return driver.CoWriteZeroes(range, flags);
  const uint64_t from = std::min(AlignUp(range.offset, alignment), range.end());
  const uint64_t to = std::max(AlignDown(range.end(), alignment), from);
  const std::vector<uint8_t> zeroes(2 * alignment);
  auto write_part = [&](uint64_t offset, uint64_t bytes) MILLRACE_MAY_SUSPEND -> absl::Status {
    if (bytes == 0) return absl::OkStatus();
    return CoWriteProtocol(node, driver, offset, IoVector::OfConst(zeroes.data(), bytes), {});
  };
  MILLRACE_RETURN_IF_ERROR(write_part(range.offset, from - range.offset));
  MILLRACE_RETURN_IF_ERROR(write_part(to, range.end() - to));
  if (from == to) return absl::OkStatus();
  RangeLock::Hold hold;
  AlignmentLock(node).CoAcquire(ByteRange(from, to - from), LockMode::kShared, hold);
  return driver.CoWriteZeroes(ByteRange(from, to - from), flags);
}

absl::Status CoDiscardProtocol(Node& node, ProtocolDriver& driver, ByteRange range) {
  const uint64_t alignment = std::max<uint64_t>(driver.io_alignment(), 1);
  const uint64_t from = AlignUp(range.offset, alignment);
  const uint64_t to = AlignDown(range.end(), alignment);
  // Discarding is advice: what is not a whole block stays.
  return from >= to ? absl::OkStatus() : driver.CoDiscard(ByteRange(from, to - from));
}

}  // namespace millrace
