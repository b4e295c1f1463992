// The driver class behind MakeQcow2Driver(). Its parts do the work: Mapping looks up, ClusterWriter
// changes, Refcounts allocates, Writeback orders, PendingFrees gives back. Internal; not installed.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_DRIVER_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_DRIVER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "millrace/engine/sync/mutex.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/drivers/qcow2/batch_writer.h"
#include "millrace/graph/drivers/qcow2/cluster_writer.h"
#include "millrace/graph/drivers/qcow2/image.h"
#include "millrace/graph/drivers/qcow2/mapping.h"
#include "millrace/graph/drivers/qcow2/pending_frees.h"
#include "millrace/graph/drivers/qcow2/qcow2_driver.h"
#include "millrace/graph/drivers/qcow2/refcounts.h"
#include "millrace/graph/drivers/qcow2/writeback.h"

namespace millrace::qcow2 {

class Qcow2Driver final : public FormatDriver {
 public:
  explicit Qcow2Driver(const Qcow2OpenOptions& options) : options_(options) {}

  std::string_view driver_name() const override { return "qcow2"; }
  absl::Status CoOpen(DriverContext& context) override MILLRACE_MAY_SUSPEND;
  void CoClose() override MILLRACE_MAY_SUSPEND;
  uint64_t bytes() const override;
  // The cache keeps the size that it was opened with.
  void TakeOptionsOf(Driver& fresh) override {
    options_.pass_discards = static_cast<Qcow2Driver&>(fresh).options_.pass_discards;
  }
  absl::Status CoPrepareReopen(bool writable) override MILLRACE_MAY_SUSPEND;
  absl::Status RehearseReopen(bool writable) override;
  void CommitReopen(bool writable) override;

  absl::StatusOr<Extent> CoMap(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<std::unique_ptr<Allocation>> CoAllocate(ByteRange range, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND;
  absl::Status CoLink(Allocation& allocation) override MILLRACE_MAY_SUSPEND;
  void CoAbandon(Allocation& allocation) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<std::unique_ptr<BatchAllocation>> CoAllocateBatch(
      absl::Span<const ByteRange> ranges, WriteFlags flags) override MILLRACE_MAY_SUSPEND;
  absl::Status CoLinkBatch(BatchAllocation& batch) override MILLRACE_MAY_SUSPEND;
  void CoAbandonBatch(BatchAllocation& batch) override MILLRACE_MAY_SUSPEND;
  absl::Status CoReadEncoded(ByteRange range, const IoVector& target) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoForget(ByteRange range) override MILLRACE_MAY_SUSPEND;
  uint64_t zero_granularity() const override;
  uint64_t cluster_bytes() const override;
  absl::Status CoFlushMetadata() override MILLRACE_MAY_SUSPEND;
  absl::Status CoResize(uint64_t bytes, ResizeFlags flags) override MILLRACE_MAY_SUSPEND;
  bool supports_backing() const override { return true; }
  std::vector<FormatFact> facts() const override;
  bool is_marked_dirty() const override;
  BackingReference backing_reference() const override;
  absl::Status CheckBackingReference(const BackingReference& reference) const override;
  absl::Status CoWriteBackingReference(const BackingReference& reference) override
      MILLRACE_MAY_SUSPEND;

 private:
  // What exists while an image is open.
  struct Parts {
    Parts(DriverContext& context, Header header, const Qcow2OpenOptions& options);
    ChildFile file;
    Image image;
    Writeback writeback;
    Refcounts refcounts;
    PendingFrees frees;
    Mapping mapping;
    ClusterWriter writer;
    BatchWriter batches;
  };

  absl::StatusOr<Header> CoReadValidHeader(ImageFile& file) MILLRACE_MAY_SUSPEND;
  // Whether the image may be written as it is: a dirty one is repaired, a corrupt one refused.
  absl::Status CoReadyForWriting(ImageFile& file, Header& header) MILLRACE_MAY_SUSPEND;
  // Before every change: is writing allowed, has the image been prepared for it, is there room in
  // the cache.
  absl::Status CoBeforeChange() MILLRACE_MAY_SUSPEND;
  // Once per writable session, before the first change: learns where the metadata is, and tells the
  // header that the image is about to change.
  absl::Status CoActivate() MILLRACE_MAY_SUSPEND;
  absl::Status CoMarkBitmaps(bool all) MILLRACE_MAY_SUSPEND;
  // Writes everything back and gives back everything that waits. With nothing in flight nothing
  // remains.
  absl::Status CoSettle() MILLRACE_MAY_SUSPEND;
  absl::Status CoShrink(uint64_t old_bytes, uint64_t bytes) MILLRACE_MAY_SUSPEND;
  absl::Status CoZeroBehind(uint64_t old_bytes, uint64_t bytes) MILLRACE_MAY_SUSPEND;
  absl::Status CoZeroLastCluster(uint64_t old_bytes) MILLRACE_MAY_SUSPEND;
  absl::Status CoReplaceLastCluster(uint64_t old_bytes, const L2Entry& old) MILLRACE_MAY_SUSPEND;
  absl::Status CoReadCompressed(const L2Entry& entry, uint64_t offset_in_cluster,
                                const IoVector& target) MILLRACE_MAY_SUSPEND;

  Qcow2OpenOptions options_;
  DriverContext* context_ = nullptr;
  std::unique_ptr<Parts> parts_;
  bool is_activated_ = false;
  Mutex activation_{"qcow2 activation"};
};

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_DRIVER_H_
