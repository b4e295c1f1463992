// Refcounts: who uses how much of the image file; allocates clusters and gives them back.
// Internal; not installed.
//
// Refcounts are changed in the table cache; Writeback brings them to disk before what depends on
// them. They are not trusted: a cluster that is free by its refcount, but known to hold metadata,
// marks the image corrupt. One allocation at a time searches; no guest I/O happens meanwhile.
// Home thread.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_REFCOUNTS_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_REFCOUNTS_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/graph/drivers/qcow2/image.h"
#include "millrace/graph/drivers/qcow2/writeback.h"

namespace millrace::qcow2 {

class Refcounts {
 public:
  Refcounts(Image& image, Writeback& writeback) : image_(image), writeback_(writeback) {}

  // 1 to `count_max` clusters in a row, with refcount 1 from now on. ResourceExhausted: the format
  // cannot address more. DataLoss: the refcounts are wrong, nothing was changed.
  absl::StatusOr<ClusterRun> CoAllocate(uint64_t count_max) MILLRACE_MAY_SUSPEND;
  // Exactly `count` clusters in a row.
  absl::StatusOr<ClusterRun> CoAllocateExactly(uint64_t count) MILLRACE_MAY_SUSPEND;
  // One user less for each cluster. What nobody uses is free at once: the caller knows that no
  // request and no table on disk refers to it (PendingFrees), or that none ever did. `discard`
  // gives the space back to the host. DataLoss if metadata lies there: an entry that lied.
  absl::Status CoRelease(ClusterRun run, bool discard) MILLRACE_MAY_SUSPEND;
  // The same for an L2 table that an L1 entry has let go of. DataLoss if more entries use it than
  // its refcount says.
  absl::Status CoReleaseL2Table(HostCluster cluster) MILLRACE_MAY_SUSPEND;

  // Makes the file long enough for what has been allocated, and at least `ahead` bytes more, for
  // which the host finds place at once: writes that make a file longer or fill its holes exclude
  // each other and all reads in the host, so that many at a time would only queue. Nothing is
  // allocated meanwhile, so that whoever writes much waits for it; hence the more it has grown, the
  // more it grows. A failure is none: then the writes themselves make it longer.
  void CoGrowFile(uint64_t ahead) MILLRACE_MAY_SUSPEND;
  // Cuts off again what nothing uses of that. With nothing in flight.
  void CoTrimFile() MILLRACE_MAY_SUSPEND;

 private:
  // Where the refcount of a cluster is stored; nothing if there is no block for it.
  absl::StatusOr<std::optional<HostOffset>> CoFindBlock(uint64_t cluster) MILLRACE_MAY_SUSPEND;
  absl::StatusOr<uint64_t> CoGet(uint64_t cluster) MILLRACE_MAY_SUSPEND;
  absl::Status CoSet(ClusterRun run, uint64_t refcount) MILLRACE_MAY_SUSPEND;
  absl::Status CoStore(HostOffset block, uint64_t cluster, uint64_t refcount) MILLRACE_MAY_SUSPEND;
  absl::Status CoDecrement(uint64_t cluster) MILLRACE_MAY_SUSPEND;

  // First run of free clusters from `start` on, of at least `count_min` and at most `count_max`,
  // where refcount blocks exist; count 0 and the cluster at which they end if there is none.
  absl::StatusOr<ClusterRun> CoSearch(uint64_t start, uint64_t count_min, uint64_t count_max)
      MILLRACE_MAY_SUSPEND;
  struct FreeStretch {
    uint64_t skipped = 0;  // clusters in use before it
    uint64_t count = 0;    // 0: there is none before the end of the slice
    bool has_block = true;
    bool reaches_end = false;  // of the slice: it may go on behind it
  };
  absl::StatusOr<FreeStretch> CoScanSlice(uint64_t cluster, uint64_t count_max)
      MILLRACE_MAY_SUSPEND;
  // Adds the refcount blocks for `payload` clusters from `first` (the first cluster of a block
  // that does not exist) on, which are to be allocated, and for themselves. The blocks come first.
  absl::StatusOr<ClusterRun> CoAddBlocks(uint64_t first, uint64_t payload) MILLRACE_MAY_SUSPEND;
  // Refcount 1 for the first `count` clusters that the blocks at `first` cover, before the refcount
  // table points at them.
  absl::Status CoFillNewBlocks(uint64_t first, uint64_t count) MILLRACE_MAY_SUSPEND;
  // The first cluster of the first block behind which no block exists.
  absl::StatusOr<uint64_t> CoFindTail() MILLRACE_MAY_SUSPEND;
  absl::Status CoCheckFree(ClusterRun run) MILLRACE_MAY_SUSPEND;

  // ---- Growing the refcount table (refcount_table_growth.cc)
  struct TableGrowth;
  absl::Status CoGrowTable(uint64_t blocks_min) MILLRACE_MAY_SUSPEND;
  absl::StatusOr<TableGrowth> PlanGrowth(uint64_t blocks_min) const;
  absl::Status CoWriteGrownTable(const TableGrowth& growth) MILLRACE_MAY_SUSPEND;

  uint64_t table_entries() const { return image_.header().refcount_table_bytes() / 8; }
  HostOffset TableEntry(uint64_t block) const {
    return HostOffset(image_.header().refcount_table_offset + block * 8);
  }
  // The first cluster that no host offset of the format can name.
  uint64_t clusters_end() const { return kHostOffsetEnd >> image_.geometry().cluster_bits; }
  // Where the refcount of `cluster` is stored in a block that starts at `block`, rounded down to a
  // byte.
  HostOffset ByteOf(HostOffset block, uint64_t cluster) const;

  Image& image_;
  Writeback& writeback_;
  Mutex mutex_{"qcow2 allocator"};
  uint64_t search_start_ = 0;  // no cluster before it is free
  // Behind every cluster that has been handed out, perhaps not yet written.
  uint64_t highest_end_ = 0;
  // Where the file ended before CoGrowFile(), in clusters; nothing if it did nothing.
  std::optional<uint64_t> end_before_growth_;
};

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_REFCOUNTS_H_
