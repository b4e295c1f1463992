// Writeback: writes changed tables in the one order that survives a crash at any point.
// Internal; not installed.
//
// Rules, each with the barrier (a flush of the file) that enforces it:
//   refcount blocks before the refcount table that points at them;
//   refcounts, and the guest's data, before the L2 entries that use them;
//   L2 tables before the L1 entries that point at them;
//   an entry that let go of a cluster before the cluster's refcount goes down (PendingFrees).
// What a crash leaves is then at most clusters with a refcount nobody needs.
//
// A round writes everything that was changed when it began; changes made meanwhile go into the
// next. With lazy refcounts the header's dirty bit stands instead of the second rule, and refcounts
// are written when the cache is full or the image is closed. Home thread.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_WRITEBACK_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_WRITEBACK_H_

#include <cstdint>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/graph/drivers/qcow2/image.h"

namespace millrace::qcow2 {

class Writeback {
 public:
  explicit Writeback(Image& image) : image_(image) {}

  // Guest data, or a table written directly, is in place and about to be pointed at by an entry of
  // the given kind.
  void OnDataWritten() { data_unflushed_ = true; }
  void OnL2TableWritten() { l2_unflushed_ = true; }
  // Whether the dirty bit stands for exact refcounts.
  void SetLazyRefcounts(bool lazy) { lazy_refcounts_ = lazy; }
  bool lazy_refcounts() const { return lazy_refcounts_; }

  // Writes back all changes made before this call. One round at a time; a caller that comes during
  // one waits and runs the next. `with_refcounts`: also those that lazy refcounts would postpone.
  absl::Status CoRun(bool with_refcounts = false) MILLRACE_MAY_SUSPEND;
  // Makes durable what has been written, also if nothing is left to write.
  absl::Status CoBarrier() MILLRACE_MAY_SUSPEND;

  // A change made now is part of this round at the earliest; once durable_round() has reached it,
  // it is on disk for good.
  uint64_t next_round() const { return next_round_; }
  uint64_t durable_round() const { return durable_round_; }

  // For the growth of the refcount table, which must not meet a round: writes refcount blocks and
  // makes them durable. The caller holds `mutex()`.
  Mutex& mutex() { return mutex_; }
  absl::Status CoWriteRefcountBlocks() MILLRACE_MAY_SUSPEND;

 private:
  struct Round {
    TableCache::Batch blocks;
    TableCache::Batch table;
    TableCache::Batch l2;
    TableCache::Batch l1;
  };
  absl::Status CoWriteInOrder(const Round& round) MILLRACE_MAY_SUSPEND;
  absl::Status CoFlushFile() MILLRACE_MAY_SUSPEND;

  Image& image_;
  Mutex mutex_{"qcow2 writeback"};
  bool lazy_refcounts_ = false;
  // Written, but perhaps not durable.
  bool blocks_unflushed_ = false;
  bool table_unflushed_ = false;
  bool l2_unflushed_ = false;
  bool data_unflushed_ = false;
  uint64_t next_round_ = 1;
  uint64_t written_round_ = 0;
  uint64_t durable_round_ = 0;
};

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_WRITEBACK_H_
