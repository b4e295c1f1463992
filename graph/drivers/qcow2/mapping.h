// Mapping: from guest offsets to L2 entries, through the L1 table. Internal; not installed.
//
// Looks up, makes room for new L2 tables, and copies L2 tables that a snapshot shares before they
// are changed. What it returns about the tables holds until the caller suspends, or for as long as
// the caller holds the guest range exclusively (Driver). Home thread.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_MAPPING_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_MAPPING_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/sync/range_lock.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/drivers/qcow2/image.h"
#include "millrace/graph/drivers/qcow2/l2_entry.h"
#include "millrace/graph/drivers/qcow2/pending_frees.h"
#include "millrace/graph/drivers/qcow2/refcounts.h"
#include "millrace/graph/drivers/qcow2/writeback.h"

namespace millrace::qcow2 {

// A window on one slice of an L2 table, from one guest cluster on.
class L2Window {
 public:
  L2Window(Image& image, TableCache::SliceRef slice, HostOffset first_entry, uint64_t first_guest);

  // Guest bytes from the first cluster's start to the end of the slice.
  uint64_t guest_begin() const { return guest_begin_; }
  uint64_t guest_end() const { return guest_end_; }
  // The entry of the cluster that `guest` lies in. DataLoss if it is broken.
  absl::StatusOr<L2Entry> Load(uint64_t guest) const;
  // What Load() has found broken: the image is corrupt (Image::CoCorrupt).
  absl::Status CoReportBroken(uint64_t guest, Access access) const MILLRACE_MAY_SUSPEND;
  void Store(uint64_t guest, const L2Entry& entry);
  // The start of the first cluster from `guest`, a cluster's start, on whose entry says anything,
  // or `end` or guest_end(), whichever comes first. May stop earlier.
  uint64_t SkipUnallocated(uint64_t guest, uint64_t end) const;

 private:
  HostOffset Place(uint64_t guest) const;

  Image* image_;
  TableCache::SliceRef slice_;
  HostOffset first_entry_;
  uint64_t guest_begin_;
  uint64_t guest_end_;
};

class Mapping {
 public:
  Mapping(Image& image, Refcounts& refcounts, Writeback& writeback, PendingFrees& frees)
      : image_(image), refcounts_(refcounts), writeback_(writeback), frees_(frees) {}

  // As FormatDriver::CoMap.
  absl::StatusOr<Extent> CoMap(ByteRange range) MILLRACE_MAY_SUSPEND;
  // The entries from the cluster of `guest` on; nothing if there is no L2 table.
  absl::StatusOr<std::optional<L2Window>> CoLookUp(uint64_t guest, Access access)
      MILLRACE_MAY_SUSPEND;
  // The same, for changing: makes the L2 table, or a copy of it that is ours alone.
  absl::StatusOr<L2Window> CoLookUpForChange(uint64_t guest) MILLRACE_MAY_SUSPEND;
  // Makes the L1 table at least `entries` long, by moving it. The header is on disk when it
  // returns.
  absl::Status CoGrowL1(uint64_t entries) MILLRACE_MAY_SUSPEND;
  // Whether [host, host + bytes) lies where guest data can be: inside the file, on no metadata.
  // DataLoss, and the image is corrupt, if not; ResourceExhausted if the file is a window.
  absl::Status CoCheckDataPlace(HostOffset host, uint64_t bytes) MILLRACE_MAY_SUSPEND;

 private:
  HostOffset L1Place(uint64_t index) const {
    return HostOffset(image_.header().l1_offset + index * 8);
  }
  absl::StatusOr<L1Entry> CoLoadL1Entry(uint64_t index, Access access) MILLRACE_MAY_SUSPEND;
  absl::StatusOr<L2Window> CoOpenWindow(HostOffset table, uint64_t guest) MILLRACE_MAY_SUSPEND;
  // Guest bytes from `range` on without an L2 table, as far as one slice of the L1 table tells.
  absl::StatusOr<uint64_t> CoMeasureGap(ByteRange range) MILLRACE_MAY_SUSPEND;
  absl::Status CoMakeL2Table(uint64_t index) MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteGrownL1(ClusterRun run, uint64_t entries) MILLRACE_MAY_SUSPEND;
  absl::Status CoFillL2Table(HostOffset target, HostOffset source) MILLRACE_MAY_SUSPEND;

  Image& image_;
  Refcounts& refcounts_;
  Writeback& writeback_;
  PendingFrees& frees_;
  RangeLock making_tables_{"qcow2 L2 tables"};  // over L1 indexes; all of them to move the table
};

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_MAPPING_H_
