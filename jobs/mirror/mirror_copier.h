// MirrorCopier: copies marked areas from a mirror's source to its target, several pieces at a time.
//
// A piece is a run of granules that is copied in one way: read and written, or zeroed, or left
// alone because the target shows it already. It starts by clearing the marks; only then does it
// look at the source, so that a change it might miss marks the area again. If it fails, it marks
// the area itself. No two pieces in flight overlap: the older one's write could land last.
//
// Pieces start alone or as a batch, which reads and writes its copies together. A part of a cluster
// of the target goes alone: formats write whole clusters together. Each batch is a
// coroutine of a scope that the caller owns. Pieces report through `on_done`, from there, when they
// are in flight no longer. If a batch of copies fails, each of them is tried by itself before it
// reports. Home thread only.
#ifndef MILLRACE_JOBS_MIRROR_MIRROR_COPIER_H_
#define MILLRACE_JOBS_MIRROR_MIRROR_COPIER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/error_policy.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/condition.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/io/dirty_bitmap.h"
#include "millrace/jobs/copy/copy_tuning.h"
#include "millrace/jobs/copy/guest_watch.h"

namespace millrace {

// A piece as it ended.
struct MirrorPiece {
  enum class Method : uint8_t { kCopy, kZero, kNothing };
  ByteRange range;
  Method method = Method::kCopy;
  absl::Status status;
  IoOperation failed_operation = IoOperation::kRead;  // if status is not OK
  uint64_t number = 0;                                // pieces count up as they start
  uint64_t promised_bytes = 0;                        // of memory that it has yet to take
  bool is_over = false;
};

struct MirrorCopierOptions {
  uint64_t buffer_bytes = 0;  // memory of all pieces in flight; a multiple of the granularity
  bool unmap = true;
  CopyTuning tuning{};                // of it what it takes care of beside guests
  uint64_t target_cluster_bytes = 0;  // a power of two; at most 1: it has none
  NodeId lowest{};  // the target lies below this image in the source's chain; invalid: elsewhere
};

class MirrorCopier {
 public:
  static constexpr size_t kBatchesMax = 16;
  static constexpr uint64_t kPieceBytesMax = uint64_t{1} << 20;

  // Everything must outlive the copier.
  MirrorCopier(Graph& graph, DirtyBitmap& dirty, Attachment& source, Attachment& target,
               MirrorCopierOptions options);

  size_t pieces_in_flight() const { return pieces_.size(); }
  uint64_t bytes_in_flight() const { return bytes_in_flight_; }
  // How long a batch may be now, all pieces together; 0 if none may start before another has ended.
  // Beside guests that only read there is room for less (GuestWatch); what those write must be
  // caught up with.
  uint64_t Room();
  // The same for what is copied at the end, whatever guests do: of one piece.
  uint64_t RoomAtTheEnd() const;
  // Whether there is memory for one piece only, which is in flight. Who copies a granule for a
  // guest, whatever Room() says, waits for it.
  bool IsShortOfMemory() const { return !pieces_.empty() && BoundsNow().batches == 1; }
  // How long the job must rest before its next piece; 0: not at all. The rest counts as taken.
  Nanoseconds TakeRest() { return guests_.AreGuestsWriting() ? 0 : guests_.TakeRest(); }
  void Describe(JobInfo& info) const { guests_.Describe(info); }
  // The first marked area at or after `from`, at most `bytes_max` long, that no piece in flight
  // overlaps. Nothing if there is none.
  std::optional<ByteRange> NextFree(uint64_t from, uint64_t bytes_max) const;
  // The piece in flight over `offset`; null if there is none. It may be kept and looked at when it
  // is over.
  std::shared_ptr<const MirrorPiece> PieceAt(uint64_t offset) const;
  // The first piece in flight that ends after `offset`: its range.
  std::optional<ByteRange> NextBusy(uint64_t offset) const;
  // What the next piece to start will be numbered.
  uint64_t next_number() const { return next_number_; }
  // Whether a piece that has written has ended since the last successful flush began, or the target
  // was never flushed. Pieces in flight do not count yet.
  bool needs_flush() const { return needs_flush_; }
  // Whether what has been written is to be flushed now, for the guests' sake.
  bool IsFlushDue() { return guests_.IsFlushDue(); }

  // Starts a batch: a piece at the start of `area`, which NextFree() has returned in this step and
  // which is no longer than Room(), and, if `bytes_max` is more, pieces of the marked areas that
  // follow it. Returns the last one, as far as it is decided (range and method) or as it ended;
  // whatever ended has been reported to `on_done` as well. `copied_bytes` is what will be copied.
  MirrorPiece CoStart(ByteRange area, uint64_t bytes_max, TaskScope& scope,
                      std::function<void(const MirrorPiece&)> on_done, uint64_t* copied_bytes)
      MILLRACE_MAY_SUSPEND;
  // The same in the caller's coroutine, to its end; no scope, no report.
  MirrorPiece CoCopyNow(ByteRange area) MILLRACE_MAY_SUSPEND;
  // Returns when a piece has ended; at once if none is in flight.
  void CoWaitForOne() MILLRACE_MAY_SUSPEND;
  // Returns when that one is over.
  void CoWaitFor(const MirrorPiece& piece) MILLRACE_MAY_SUSPEND;
  void CoWaitForAll() MILLRACE_MAY_SUSPEND;
  absl::Status CoFlush() MILLRACE_MAY_SUSPEND;

 private:
  // In flight: its range is taken.
  using Slot = std::shared_ptr<MirrorPiece>;

  using OnDone = std::function<void(const MirrorPiece&)>;
  // Pieces of one coroutine.
  using Batch = std::vector<MirrorPiece*>;

  MirrorPiece* Take(ByteRange area);
  // How long a piece may be as far as memory goes, and how many batches there may be.
  struct Bounds {
    uint64_t piece_bytes;
    size_t batches;
    bool is_scarce;  // so little is left that nobody takes more than a piece
  };
  Bounds BoundsNow() const;
  // Of memory for the piece, from its start until it is taken: so much now.
  void Promise(MirrorPiece& piece, uint64_t bytes);
  // Whether it starts with a part of a cluster.
  bool IsPartOfCluster(ByteRange area) const;
  // `bytes`, or less: whole clusters if that is one at least, else whole granules.
  uint64_t WholeClusters(uint64_t bytes) const;
  // The first piece in flight that overlaps `area`; null if none does.
  const MirrorPiece* FirstOver(ByteRange area) const;
  // How much of `area` the source has: somebody may have opened it anew and shorter. What lies
  // behind its end is zeroes. It stays as it is while pieces are in flight.
  uint64_t BytesInSource(ByteRange area) const;
  absl::StatusOr<AllocationRun> CoLookAtSource(ByteRange area) MILLRACE_MAY_SUSPEND;
  // A hole in a raw image's file is not read: where the run begins with one it is cut to that.
  void CoLookForHole(uint64_t offset, AllocationRun* run) MILLRACE_MAY_SUSPEND;
  // Decides how the start of the piece's range is copied, and lets go of the rest.
  absl::Status CoDecide(MirrorPiece& piece) MILLRACE_MAY_SUSPEND;
  void CoPerform(MirrorPiece& piece) MILLRACE_MAY_SUSPEND;
  // Takes the marked areas behind `piece` into the batch, as long as they are near and fit.
  void CoGather(const MirrorPiece& piece, uint64_t bytes, Batch* batch, const OnDone& on_done)
      MILLRACE_MAY_SUSPEND;
  void CoPerformBatch(const Batch& batch, const OnDone& on_done) MILLRACE_MAY_SUSPEND;
  // `operation` is the one that has failed, if one has.
  absl::Status CoCopyTogether(const Batch& copies, IoOperation* operation) MILLRACE_MAY_SUSPEND;
  // The piece is in flight no longer; what failed is marked again. Returns it.
  MirrorPiece Release(MirrorPiece* piece);

  Graph& graph_;
  DirtyBitmap& dirty_;
  Attachment& source_;
  Attachment& target_;
  const MirrorCopierOptions options_;
  const uint64_t piece_bytes_max_;
  const uint64_t cluster_bytes_;          // at least a granule
  std::multimap<uint64_t, Slot> pieces_;  // by offset; disjoint
  GuestWatch guests_;
  // Nothing was left to do once: since then only what guests write is caught up with, for which the
  // job is not counted among those that copy.
  bool has_caught_up_ = false;
  size_t batches_in_flight_ = 0;
  uint64_t bytes_in_flight_ = 0;
  uint64_t next_number_ = 1;
  bool needs_flush_ = true;  // so that a target that nobody wrote is flushed once, too
  Condition piece_done_{"mirror piece"};
};

}  // namespace millrace

#endif  // MILLRACE_JOBS_MIRROR_MIRROR_COPIER_H_
