// BatchWriter: room for many clusters at once, which a copying job fills with one write.
// Internal; not installed.
//
// The clusters of a batch need not be neighbours in the guest, but those that are new are taken
// together, so that they lie side by side in the file where there is room; and all of them are
// linked in one step. A batch holds everything from its first cluster to its last exclusively, as
// ClusterWriter does for its one range: others who would change mappings in between wait. Home
// thread.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_BATCH_WRITER_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_BATCH_WRITER_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/sync/range_lock.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/drivers/qcow2/cluster_writer.h"
#include "millrace/graph/drivers/qcow2/image.h"
#include "millrace/graph/drivers/qcow2/mapping.h"
#include "millrace/graph/drivers/qcow2/refcounts.h"

namespace millrace::qcow2 {

class ClusterBatch final : public BatchAllocation {
 private:
  friend class BatchWriter;
  struct Cluster {
    uint64_t guest = 0;
    HostOffset host;
    bool is_new = false;  // host is to be allocated
    bool needs_link = false;
  };
  std::vector<Cluster> clusters_;  // those that are written, ascending
  std::vector<ClusterRun> runs_;   // allocated for this batch
  RangeLock::Hold hold_;
};

class BatchWriter {
 public:
  BatchWriter(Image& image, Mapping& mapping, Refcounts& refcounts, Writeback& writeback,
              ClusterWriter& writer)
      : image_(image),
        mapping_(mapping),
        refcounts_(refcounts),
        writeback_(writeback),
        writer_(writer) {}

  // As FormatDriver::CoAllocateBatch.
  absl::StatusOr<std::unique_ptr<BatchAllocation>> CoAllocate(absl::Span<const ByteRange> ranges,
                                                              WriteFlags flags)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoLink(ClusterBatch& batch) MILLRACE_MAY_SUSPEND;
  void CoAbandon(ClusterBatch& batch) MILLRACE_MAY_SUSPEND;

 private:
  bool Suits(absl::Span<const ByteRange> ranges) const;
  // Decides for every cluster of `range` whether and where it is written.
  absl::Status CoPlan(ByteRange range, WriteFlags flags, ClusterBatch& batch) MILLRACE_MAY_SUSPEND;
  absl::Status CoPlanAll(absl::Span<const ByteRange> ranges, WriteFlags flags, ClusterBatch& batch)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoPlanCluster(const L2Entry& entry, uint64_t guest, WriteFlags flags,
                             ClusterBatch& batch) MILLRACE_MAY_SUSPEND;
  // Makes the L2 tables and takes the host clusters that the plan needs.
  absl::Status CoPlace(ClusterBatch& batch) MILLRACE_MAY_SUSPEND;
  static void SetPlaces(uint64_t cluster_bytes, ClusterBatch& batch);
  // What stood there before the batch, and what is to.
  static L2Entry OldEntry(const L2Window& window, uint64_t guest);
  L2Entry LinkedEntry(const ClusterBatch::Cluster& cluster) const;
  // ClusterWriter::CoCheckOld for all of the batch; `windows` are those of its tables, in order.
  absl::Status CoCheckOld(const ClusterBatch& batch, const std::vector<L2Window>& windows)
      MILLRACE_MAY_SUSPEND;

  Image& image_;
  Mapping& mapping_;
  Refcounts& refcounts_;
  Writeback& writeback_;
  ClusterWriter& writer_;
};

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_BATCH_WRITER_H_
