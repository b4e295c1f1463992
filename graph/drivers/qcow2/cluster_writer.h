// ClusterWriter: everything that changes what guest clusters map to: allocating for writes,
// linking what was written, zeroing and discarding. Internal; not installed.
//
// Changes of overlapping guest clusters take turns; writes into clusters that are in place already
// run side by side. Home thread.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_CLUSTER_WRITER_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_CLUSTER_WRITER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/sync/range_lock.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/drivers/qcow2/image.h"
#include "millrace/graph/drivers/qcow2/mapping.h"

namespace millrace::qcow2 {

// How a write finds its place.
enum class Placement : uint8_t {
  kInPlace,  // in clusters that are mapped and ours alone
  kReuse,    // in a cluster that is ours, but does not show (all of) its content yet
  kNew,      // in new clusters
  kSkip,     // nowhere: it is allocated already, and only the unallocated was asked for
};

class ClusterAllocation final : public Allocation {
 public:
  const ByteRange& covered() const { return covered_; }
  Placement placement() const { return placement_; }

 private:
  friend class ClusterWriter;
  ByteRange covered_;
  Placement placement_ = Placement::kSkip;
  ClusterRun run_;       // kNew
  ByteRange tail_zero_;  // of the file: behind the image's end, in the last cluster
  RangeLock::Hold hold_;
};

class ClusterWriter {
 public:
  ClusterWriter(Image& image, Mapping& mapping, Refcounts& refcounts, Writeback& writeback,
                PendingFrees& frees)
      : image_(image),
        mapping_(mapping),
        refcounts_(refcounts),
        writeback_(writeback),
        frees_(frees) {}

  // As in FormatDriver. A range that ended where the image did may end inside a subcluster by now:
  // that is left as it is, and CoZero() is Unimplemented then.
  absl::StatusOr<std::unique_ptr<Allocation>> CoAllocate(ByteRange range, WriteFlags flags)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoLink(ClusterAllocation& allocation) MILLRACE_MAY_SUSPEND;
  void CoAbandon(ClusterAllocation& allocation) MILLRACE_MAY_SUSPEND;
  // `pass_discards`: space that becomes free is given back to the host.
  absl::Status CoZero(ByteRange range, ZeroFlags flags, bool pass_discards) MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscard(ByteRange range, bool pass_discards) MILLRACE_MAY_SUSPEND;
  // Unmaps whole clusters, whatever shows through then, and gives their space back to the host.
  absl::Status CoForget(ByteRange range) MILLRACE_MAY_SUSPEND;

  // Gives the cluster at `guest`, which has data, a host cluster of its own with `content`: all of
  // a compressed cluster, else what the old host cluster is to have instead. The caller holds the
  // guest range exclusively.
  absl::Status CoReplace(uint64_t guest, absl::Span<const uint8_t> content) MILLRACE_MAY_SUSPEND;

  // For whoever changes an entry, before and after: DataLoss, and the image is corrupt, if what
  // only `old` uses is metadata. Suspends in that case alone.
  absl::Status CoCheckOld(const L2Entry& old, const L2Entry& now) MILLRACE_MAY_SUSPEND;
  // Gives back what only `old` uses.
  void ReleaseOld(const L2Entry& old, const L2Entry& now, bool discard);

  // Held exclusively by whoever changes mappings of a guest range by other means.
  RangeLock& guest_ranges() { return guest_ranges_; }

 private:
  struct Plan {
    Placement placement = Placement::kSkip;
    uint64_t bytes = 0;
    HostOffset host;  // kInPlace, kReuse: of the first byte
    L2Entry first;    // entries of the first and the last cluster covered
    L2Entry last;
  };
  using ChangeEntry = absl::Status (ClusterWriter::*)(L2Entry& entry, uint32_t subclusters,
                                                      ZeroFlags flags) const;

  Plan PlanCluster(const L2Entry& entry, ByteRange part, bool only_if_unallocated) const;
  absl::StatusOr<Plan> CoPlan(ByteRange range, bool only_if_unallocated) MILLRACE_MAY_SUSPEND;
  // Whether `next` continues `plan`.
  bool Continues(const Plan& plan, const Plan& next) const;
  void SetFill(const Plan& plan, ClusterAllocation& allocation) const;
  absl::Status CoPlace(const Plan& plan, ClusterAllocation& allocation) MILLRACE_MAY_SUSPEND;
  // Tries to write in place; false if the clusters are not there for it.
  absl::StatusOr<bool> CoTryInPlace(ByteRange range, ClusterAllocation& allocation)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoLinkEntries(ClusterAllocation& allocation) MILLRACE_MAY_SUSPEND;
  // What was taken, and never linked.
  void CoGiveBack(ClusterRun run) MILLRACE_MAY_SUSPEND;
  absl::Status CoLinkReplaced(uint64_t guest, HostCluster fresh) MILLRACE_MAY_SUSPEND;
  L2Entry LinkedEntry(const L2Entry& old, const ClusterAllocation& allocation,
                      uint64_t cluster) const;
  // The host clusters that `old` uses and `now` does not.
  ClusterRun UsedByOld(const L2Entry& old, const L2Entry& now) const;
  // Applies `change` to all subclusters of `range`, table by table. False if it ends inside one,
  // which is left out.
  absl::StatusOr<bool> CoChangeEntries(ByteRange range, ChangeEntry change, ZeroFlags flags,
                                       bool makes_tables, bool discard) MILLRACE_MAY_SUSPEND;
  absl::Status CoChangeWindow(ByteRange range, ChangeEntry change, ZeroFlags flags,
                              bool makes_tables, bool discard, uint64_t& done) MILLRACE_MAY_SUSPEND;
  absl::Status ZeroEntry(L2Entry& entry, uint32_t subclusters, ZeroFlags flags) const;
  absl::Status DiscardEntry(L2Entry& entry, uint32_t subclusters, ZeroFlags flags) const;
  absl::Status ForgetEntry(L2Entry& entry, uint32_t subclusters, ZeroFlags flags) const;

  bool has_backing() const;
  ByteRange ClusterAligned(ByteRange range) const;
  // `range` up to the end of its last whole subcluster; to the end of the cluster if it reaches the
  // image's end, since nothing behind that matters.
  ByteRange WholeSubclusters(ByteRange range) const;
  // The subclusters of the cluster at `cluster` that overlap `range`.
  uint32_t SubclusterMask(uint64_t cluster, ByteRange range) const;

  Image& image_;
  Mapping& mapping_;
  Refcounts& refcounts_;
  Writeback& writeback_;
  PendingFrees& frees_;
  RangeLock guest_ranges_{"qcow2 guest clusters"};
};

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_CLUSTER_WRITER_H_
