#include "millrace/jobs/mirror/mirror_copier.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/buffer_pool.h"

namespace millrace {
namespace {

using Method = MirrorPiece::Method;

// A sixteenth of the buffer, but not so small that pieces become slow, nor larger than the buffer.
uint64_t PieceBytesMax(uint64_t buffer_bytes, uint64_t granularity) {
  const uint64_t share =
      std::max(buffer_bytes / MirrorCopier::kPiecesMax, MirrorCopier::kPieceBytesMax);
  return std::max(AlignDown(std::min(share, buffer_bytes), granularity), granularity);
}

}  // namespace

MirrorCopier::MirrorCopier(Graph& graph, DirtyBitmap& dirty, Attachment& source, Attachment& target,
                           MirrorCopierOptions options)
    : graph_(graph),
      dirty_(dirty),
      source_(source),
      target_(target),
      options_(options),
      piece_bytes_max_(PieceBytesMax(options.buffer_bytes, dirty.granularity())) {}

uint64_t MirrorCopier::Room() const {
  if (pieces_.size() >= kPiecesMax) return 0;
  if (pieces_.empty()) return piece_bytes_max_;
  const uint64_t left = options_.buffer_bytes - std::min(options_.buffer_bytes, bytes_in_flight_);
  return std::min(piece_bytes_max_, AlignDown(left, dirty_.granularity()));
}

std::optional<ByteRange> MirrorCopier::NextFree(uint64_t from, uint64_t bytes_max) const {
  for (uint64_t at = from;;) {
    const std::optional<ByteRange> area = dirty_.NextDirty(at, bytes_max);
    if (!area) return std::nullopt;
    const ByteRange* busy = nullptr;
    for (const Slot& piece : pieces_) {
      if (!piece->range.Overlaps(*area)) continue;
      if (busy == nullptr || piece->range.offset < busy->offset) busy = &piece->range;
    }
    if (busy == nullptr) return area;
    if (busy->offset > area->offset) {
      return ByteRange(area->offset, busy->offset - area->offset);
    }
    at = busy->end();
  }
}

// ---- A piece's life ----------------------------------------------------------------------------

MirrorPiece* MirrorCopier::Take(ByteRange area) {
  // I17: cleared before the source is looked at. What changes from here on is marked again.
  dirty_.Reset(area);
  auto piece = std::make_unique<MirrorPiece>();
  piece->range = area;
  bytes_in_flight_ += area.bytes;
  pieces_.push_back(std::move(piece));
  return pieces_.back().get();
}

MirrorPiece MirrorCopier::Release(MirrorPiece* piece) {
  if (!piece->status.ok()) dirty_.Set(piece->range);
  bytes_in_flight_ -= piece->range.bytes;
  MirrorPiece ended = std::move(*piece);
  std::erase_if(pieces_, [&](const Slot& slot) { return slot.get() == piece; });
  piece_done_.Notify();
  return ended;
}

absl::Status MirrorCopier::CoDecide(MirrorPiece& piece) {
  const ByteRange area = piece.range;
  MILLRACE_ASSIGN_OR_RETURN(const AllocationRun run,
                            source_.CoAllocation(area, NodeId(), options_.lowest));
  uint64_t bytes = run.bytes;
  if (bytes < area.bytes) bytes = AlignDown(bytes, dirty_.granularity());
  if (bytes == 0) {
    // Mixed within one granule: it is read, which is right for all of it.
    bytes = std::min(area.bytes, dirty_.granularity());
    piece.method = Method::kCopy;
  } else if (!run.is_allocated) {
    // No layer above a target in the chain has it: what is seen there is the target's own.
    piece.method = options_.lowest.is_valid() ? Method::kNothing : Method::kZero;
  } else {
    piece.method = run.is_zero ? Method::kZero : Method::kCopy;
  }
  dirty_.Set(ByteRange(area.offset + bytes, area.bytes - bytes));
  bytes_in_flight_ -= area.bytes - bytes;
  piece.range.bytes = bytes;
  return absl::OkStatus();
}

void MirrorCopier::CoPerform(MirrorPiece& piece) {
  if (piece.method == Method::kNothing) return;
  if (piece.method == Method::kZero) {
    needs_flush_ = true;
    piece.failed_operation = IoOperation::kWrite;
    piece.status = target_.CoWriteZeroes(piece.range, {.may_unmap = options_.unmap});
    return;
  }
  absl::StatusOr<IoBuffer> buffer = graph_.engine().buffers().TryTake(piece.range.bytes, "mirror");
  piece.status = buffer.status();
  if (!buffer.ok()) return;
  const IoVector vector(buffer->data(), piece.range.bytes);
  piece.status = source_.CoRead(piece.range.offset, vector);
  if (!piece.status.ok()) return;
  needs_flush_ = true;
  piece.failed_operation = IoOperation::kWrite;
  piece.status = target_.CoWrite(piece.range.offset, vector);
}

MirrorPiece MirrorCopier::CoStart(ByteRange area, TaskScope& scope,
                                  std::function<void(const MirrorPiece&)> on_done) {
  MirrorPiece* piece = Take(area);
  piece->status = CoDecide(*piece);
  if (!piece->status.ok() || piece->method == Method::kNothing) {
    MirrorPiece ended = Release(piece);
    on_done(ended);
    return ended;
  }
  MirrorPiece started = *piece;
  const bool is_spawned =
      scope.Spawn("mirror/piece", [this, piece, on_done]() MILLRACE_MAY_SUSPEND {
        CoPerform(*piece);
        on_done(Release(piece));
      });
  if (!is_spawned) {
    // No stack for one more coroutine: this one does it.
    CoPerform(*piece);
    on_done(Release(piece));
  }
  return started;
}

MirrorPiece MirrorCopier::CoCopyNow(ByteRange area) {
  MirrorPiece* piece = Take(area);
  piece->status = CoDecide(*piece);
  if (piece->status.ok()) CoPerform(*piece);
  return Release(piece);
}

void MirrorCopier::CoWaitForOne() {
  if (!pieces_.empty()) piece_done_.CoWait();
}

void MirrorCopier::CoWaitForAll() {
  piece_done_.CoWaitUntil([&] { return pieces_.empty(); });
}

absl::Status MirrorCopier::CoFlush() {
  needs_flush_ = false;  // what is written while it runs needs another one
  absl::Status status = target_.CoFlush();
  if (!status.ok()) needs_flush_ = true;
  return status;
}

}  // namespace millrace
