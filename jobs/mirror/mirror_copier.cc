#include "millrace/jobs/mirror/mirror_copier.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/map_image.h"
#include "millrace/jobs/copy/copy_tuning.h"

namespace millrace {
namespace {

using Method = MirrorPiece::Method;

// Where the target has no clusters: what is smaller is not worth to be waited for by others.
constexpr uint64_t kSmallestTogether = uint64_t{64} << 10;

// Of the engine's pool. While so much of it is out or promised, by whomever, a mirror has one piece
// in flight, of so many bytes or one granule: each of very many mirrors goes on, if only with
// little.
constexpr uint64_t kMemoryForMirrors = uint64_t{256} << 20;
constexpr uint64_t kPieceBytesShort = uint64_t{64} << 10;
static_assert(2 * kMemoryForMirrors <= BufferPool::Limits().bytes_max);
// However large the user's buffer: more at once gains nothing.
constexpr uint64_t kPieceBytesLimit = kMemoryForMirrors / MirrorCopier::kBatchesMax;

// A sixteenth of the buffer, but not so small that pieces become slow, nor larger than the buffer.
uint64_t PieceBytesMax(uint64_t buffer_bytes, uint64_t granularity) {
  const uint64_t share = std::clamp(buffer_bytes / MirrorCopier::kBatchesMax,
                                    MirrorCopier::kPieceBytesMax, kPieceBytesLimit);
  return std::max(AlignDown(std::min(share, buffer_bytes), granularity), granularity);
}

bool IsRaw(Graph& graph, NodeId layer) MILLRACE_OPENS_VIEW {
  const GraphView view(graph);
  const absl::StatusOr<NodeView> node = view.Resolve(layer);
  return node.ok() && node->driver_name() == "raw";
}

}  // namespace

MirrorCopier::MirrorCopier(Graph& graph, DirtyBitmap& dirty, Attachment& source, Attachment& target,
                           MirrorCopierOptions options)
    : graph_(graph),
      dirty_(dirty),
      source_(source),
      target_(target),
      options_(options),
      piece_bytes_max_(PieceBytesMax(options.buffer_bytes, dirty.granularity())),
      cluster_bytes_(std::max(dirty.granularity(), options.target_cluster_bytes > 1
                                                       ? options.target_cluster_bytes
                                                       : kSmallestTogether)),
      guests_(graph, options.tuning.latency_target, options.tuning.flush_bytes) {}

bool MirrorCopier::IsPartOfCluster(ByteRange area) const {
  return area.bytes < cluster_bytes_ || area.offset % cluster_bytes_ != 0;
}

uint64_t MirrorCopier::WholeClusters(uint64_t bytes) const {
  return AlignDown(bytes, bytes < cluster_bytes_ ? dirty_.granularity() : cluster_bytes_);
}

MirrorCopier::Bounds MirrorCopier::BoundsNow() const {
  const uint64_t spoken_for = graph_.engine().buffers().bytes_out_or_promised();
  const uint64_t left = kMemoryForMirrors - std::min(kMemoryForMirrors, spoken_for);
  const uint64_t least =
      std::min(piece_bytes_max_, std::max(kPieceBytesShort, dirty_.granularity()));
  if (left < least) return {.piece_bytes = least, .batches = 1, .is_scarce = true};
  // What all jobs copy with goes through memory that is there already. One granule is always moved.
  const GuestWatch::Allowance share = guests_.ShareOf({kBatchesMax, piece_bytes_max_});
  const uint64_t granularity = dirty_.granularity();
  const uint64_t piece_bytes =
      std::max(AlignDown(std::min(share.batch_bytes, left), granularity), granularity);
  const uint64_t batches = share.batches * share.batch_bytes / piece_bytes;
  return {.piece_bytes = piece_bytes,
          .batches = std::clamp<size_t>(batches, 1, share.batches),
          .is_scarce = false};
}

void MirrorCopier::Promise(MirrorPiece& piece, uint64_t bytes) {
  BufferPool& buffers = graph_.engine().buffers();
  buffers.Promise(bytes);
  buffers.TakeBackPromise(std::exchange(piece.promised_bytes, bytes));
}

uint64_t MirrorCopier::RoomAtTheEnd() const {
  const Bounds bounds = BoundsNow();
  if (pieces_.empty()) return bounds.piece_bytes;
  const bool is_full = pieces_.size() >= bounds.batches ||
                       bytes_in_flight_ + bounds.piece_bytes > options_.buffer_bytes;
  return is_full ? 0 : bounds.piece_bytes;
}

uint64_t MirrorCopier::Room() {
  const Bounds bounds = BoundsNow();
  uint64_t bytes_max = bounds.piece_bytes;
  size_t batches_max = bounds.batches;
  const std::optional<GuestWatch::Allowance> beside_guests = guests_.AllowanceNow();
  if (beside_guests && !guests_.AreGuestsWriting()) {
    batches_max = std::min(batches_max, beside_guests->batches);
    const uint64_t granularity = dirty_.granularity();
    bytes_max = std::min(bytes_max,
                         std::max(AlignDown(beside_guests->batch_bytes, granularity), granularity));
  }
  if (batches_in_flight_ >= batches_max) return 0;
  if (pieces_.empty()) return bytes_max;
  const uint64_t left = options_.buffer_bytes - std::min(options_.buffer_bytes, bytes_in_flight_);
  const uint64_t room = std::min(bytes_max, WholeClusters(left));
  const bool is_small = room > 0 && MILLRACE_BUGGIFY("mirror: room for one granule only");
  return is_small ? dirty_.granularity() : room;
}

std::shared_ptr<const MirrorPiece> MirrorCopier::PieceAt(uint64_t offset) const {
  const auto behind = pieces_.upper_bound(offset);
  if (behind == pieces_.begin()) return nullptr;
  const Slot& piece = std::prev(behind)->second;
  return piece->range.Contains(offset) ? piece : nullptr;
}

std::optional<ByteRange> MirrorCopier::NextBusy(uint64_t offset) const {
  if (const std::shared_ptr<const MirrorPiece> here = PieceAt(offset)) return here->range;
  const auto next = pieces_.upper_bound(offset);
  if (next == pieces_.end()) return std::nullopt;
  return next->second->range;
}

const MirrorPiece* MirrorCopier::FirstOver(ByteRange area) const {
  auto piece = pieces_.upper_bound(area.offset);
  if (piece != pieces_.begin() && std::prev(piece)->second->range.Overlaps(area)) --piece;
  if (piece == pieces_.end() || !piece->second->range.Overlaps(area)) return nullptr;
  return piece->second.get();
}

std::optional<ByteRange> MirrorCopier::NextFree(uint64_t from, uint64_t bytes_max) const {
  for (uint64_t at = from;;) {
    const std::optional<ByteRange> area = dirty_.NextDirty(at, bytes_max);
    if (!area) return std::nullopt;
    MILLRACE_MUTANT(kR69) return area;  // whether or not somebody has it already
    const MirrorPiece* const busy = FirstOver(*area);
    if (busy == nullptr) return area;
    if (busy->range.offset > area->offset) {
      return ByteRange(area->offset, busy->range.offset - area->offset);
    }
    at = busy->range.end();
  }
}

// ---- A piece's life ----------------------------------------------------------------------------

MirrorPiece* MirrorCopier::Take(ByteRange area) {
  // I17: cleared before the source is looked at. What changes from here on is marked again.
  dirty_.Reset(area);
  MILLRACE_MUTANT(kR29b) dirty_.Set(area);  // cleared when it has been copied
  auto piece = std::make_shared<MirrorPiece>();
  piece->range = area;
  piece->number = next_number_++;
  bytes_in_flight_ += area.bytes;
  Promise(*piece, area.bytes);
  return pieces_.emplace(area.offset, std::move(piece))->second.get();
}

MirrorPiece MirrorCopier::Release(MirrorPiece* piece) {
  MILLRACE_MUTANT(kR29b) {
    if (piece->status.ok()) dirty_.Reset(piece->range);
  }
  bool is_marked_again = !piece->status.ok();
  MILLRACE_MUTANT(kM08) is_marked_again = false;
  MILLRACE_SOMETIMES(!is_marked_again && dirty_.NextDirty(piece->range.offset, 1).has_value() &&
                         dirty_.NextDirty(piece->range.offset, 1)->offset < piece->range.end(),
                     "mirror: the guest has written to a piece in flight");
  if (is_marked_again) dirty_.Set(piece->range);
  // Now, not when the write began: a flush that came meanwhile has not covered it.
  const bool is_written = piece->status.ok() ? piece->method != Method::kNothing
                                             : piece->failed_operation == IoOperation::kWrite;
  if (is_written) {
    needs_flush_ = true;
    guests_.OnWritten(piece->range.bytes);
  }
  bytes_in_flight_ -= piece->range.bytes;
  Promise(*piece, 0);
  piece->is_over = true;
  MirrorPiece ended = *piece;
  auto slot = pieces_.find(piece->range.offset);
  while (slot->second.get() != piece) ++slot;
  pieces_.erase(slot);
  if (pieces_.empty() && dirty_.is_clean()) {
    has_caught_up_ = true;
    guests_.SetCopying(false);
  }
  piece_done_.Notify();
  return ended;
}

uint64_t MirrorCopier::BytesInSource(ByteRange area) const {
  const uint64_t end = std::max(source_.bytes(), area.offset);
  return std::min(area.bytes, end - area.offset);
}

void MirrorCopier::CoLookForHole(uint64_t offset, AllocationRun* run) {
  const absl::StatusOr<MapExtent> extent = CoMapStart(source_, ByteRange(offset, run->bytes));
  // What cannot be told is read; so is what another layer has by now.
  if (!extent.ok() || extent->layer != run->layer) return;
  run->bytes = std::min(run->bytes, extent->bytes);
  run->is_zero = extent->is_zero;
}

absl::StatusOr<AllocationRun> MirrorCopier::CoLookAtSource(ByteRange area) {
  const uint64_t inside = BytesInSource(area);
  if (inside > 0) {
    MILLRACE_ASSIGN_OR_RETURN(
        AllocationRun run,
        source_.CoAllocation(ByteRange(area.offset, inside), NodeId(), options_.lowest));
    if (run.is_allocated && !run.is_zero && IsRaw(graph_, run.layer))
      CoLookForHole(area.offset, &run);
    return run;
  }
  AllocationRun behind;
  behind.bytes = area.bytes;
  behind.is_zero = true;
  return behind;
}

absl::Status MirrorCopier::CoDecide(MirrorPiece& piece) {
  const ByteRange area = piece.range;
  MILLRACE_ASSIGN_OR_RETURN(const AllocationRun run, CoLookAtSource(area));
  uint64_t bytes = run.bytes;
  if (bytes < area.bytes) bytes = AlignDown(bytes, dirty_.granularity());
  MILLRACE_MUTANT(kR72) {  // nothing whole is there, so nothing is done
    if (bytes == 0) {
      dirty_.Set(area);
      bytes_in_flight_ -= area.bytes;
      piece.range.bytes = 0;
      piece.method = Method::kNothing;
      return absl::OkStatus();
    }
  }
  MILLRACE_SOMETIMES(bytes == 0, "mirror: a granule is part data, part none");
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
  Promise(piece, piece.method == Method::kCopy ? bytes : 0);
  return absl::OkStatus();
}

void MirrorCopier::CoPerform(MirrorPiece& piece) {
  if (piece.method == Method::kNothing) return;
  if (piece.method == Method::kZero) {
    piece.failed_operation = IoOperation::kWrite;
    piece.status = target_.CoWriteZeroes(piece.range, {.may_unmap = options_.unmap});
    return;
  }
  piece.status = CoCopyTogether({&piece}, &piece.failed_operation);
}

void MirrorCopier::CoGather(const MirrorPiece& piece, uint64_t bytes, Batch* batch,
                            const OnDone& on_done) {
  uint64_t at = piece.range.end();
  const uint64_t reach = piece.range.offset + kBatchSpanMax;
  while (bytes >= dirty_.granularity()) {
    const Bounds bounds = BoundsNow();  // others may have begun meanwhile
    if (bounds.is_scarce) return;
    const std::optional<ByteRange> area = NextFree(at, std::min(bytes, bounds.piece_bytes));
    if (!area || area->bytes > bytes || area->end() > reach || IsPartOfCluster(*area)) return;
    MirrorPiece* const next = Take(*area);
    next->status = CoDecide(*next);
    at = next->range.end();
    if (!next->status.ok() || next->method == Method::kNothing) {
      on_done(Release(next));
      continue;
    }
    bytes -= std::min(bytes, next->range.bytes);
    batch->push_back(next);
  }
}

absl::Status MirrorCopier::CoCopyTogether(const Batch& copies, IoOperation* operation) {
  std::vector<ChainPart> parts;
  std::vector<ByteRange> ranges;
  uint64_t bytes = 0;
  uint64_t bytes_in_source = 0;
  for (MirrorPiece* piece : copies) {
    if (const uint64_t inside = BytesInSource(piece->range); inside > 0) {
      ChainPart part;
      part.range = ByteRange(piece->range.offset, inside);
      parts.push_back(part);
      bytes_in_source += inside;
    }
    ranges.push_back(piece->range);
    bytes += piece->range.bytes;
    Promise(*piece, 0);
  }
  *operation = IoOperation::kRead;
  MILLRACE_ASSIGN_OR_RETURN(IoBuffer buffer, graph_.engine().buffers().TryTake(bytes, "mirror"));
  const IoVector memory(buffer.data(), bytes);
  const bool is_inside = bytes_in_source == bytes;
  if (is_inside && source_.CoTryShareParts(parts, target_, memory)) return absl::OkStatus();
  // They ascend, so what lies behind the source's end comes last.
  std::memset(buffer.data() + bytes_in_source, 0, bytes - bytes_in_source);
  MILLRACE_RETURN_IF_ERROR(source_.CoReadParts(parts, IoVector(buffer.data(), bytes_in_source)));
  *operation = IoOperation::kWrite;
  return target_.CoWriteParts(ranges, memory);
}

void MirrorCopier::CoPerformBatch(const Batch& batch, const OnDone& on_done) {
  Batch copies;
  for (MirrorPiece* piece : batch) {
    if (piece->method == Method::kCopy) copies.push_back(piece);
  }
  // Which of them an error belongs to is known only when each is copied by itself.
  IoOperation ignored;
  bool are_copied = copies.size() > 1 && CoCopyTogether(copies, &ignored).ok();
  MILLRACE_MUTANT(kM14) are_copied = copies.size() > 1;  // whatever became of it
  for (MirrorPiece* piece : batch) {
    if (!are_copied || piece->method != Method::kCopy) CoPerform(*piece);
    on_done(Release(piece));
  }
  --batches_in_flight_;
  guests_.OnBatchEnd();
  piece_done_.Notify();
}

MirrorPiece MirrorCopier::CoStart(ByteRange area, uint64_t bytes_max, TaskScope& scope,
                                  OnDone on_done, uint64_t* copied_bytes) {
  *copied_bytes = 0;
  guests_.SetCopying(!has_caught_up_);
  MirrorPiece* first = Take(area);
  MILLRACE_MUTANT(kR13) {  // it counts among those for whose end it waits
    while (Room() == 0) CoWaitForOne();
  }
  first->status = CoDecide(*first);
  if (!first->status.ok() || first->method == Method::kNothing) {
    MirrorPiece ended = Release(first);
    on_done(ended);
    return ended;
  }
  Batch batch = {first};
  if (!IsPartOfCluster(first->range)) {
    CoGather(*first, bytes_max - std::min(bytes_max, first->range.bytes), &batch, on_done);
  }
  for (const MirrorPiece* piece : batch) {
    if (piece->method == Method::kCopy) *copied_bytes += piece->range.bytes;
  }
  const MirrorPiece last = *batch.back();
  ++batches_in_flight_;
  guests_.OnBatchBegin();
  const auto main = [this, batch, on_done]()
                        MILLRACE_MAY_SUSPEND { CoPerformBatch(batch, on_done); };
  // No stack for one more coroutine: this one does it.
  const bool stays = MILLRACE_BUGGIFY("mirror: no coroutine for a batch");
  if (stays || !scope.Spawn("mirror/piece", main)) main();
  return last;
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

void MirrorCopier::CoWaitFor(const MirrorPiece& piece) {
  piece_done_.CoWaitUntil([&] { return piece.is_over; });
}

void MirrorCopier::CoWaitForAll() {
  piece_done_.CoWaitUntil([&] { return pieces_.empty(); });
  guests_.SetCopying(false);  // paused, drained, or over
}

absl::Status MirrorCopier::CoFlush() {
  needs_flush_ = false;  // pieces that end while it runs need another one
  guests_.OnFlush();
  guests_.OnBatchBegin();
  absl::Status status = target_.CoFlush();
  guests_.OnBatchEnd();
  if (!status.ok()) needs_flush_ = true;
  return status;
}

}  // namespace millrace
