#include "millrace/graph/drivers/memory_overlay.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/sync/range_lock.h"
#include "millrace/graph/drivers/memory_step.h"

namespace millrace {
namespace {

using Image = MemoryOverlayImage;
using Cluster = MemoryOverlayImage::Cluster;

uint64_t ClusterCount(uint64_t bytes, uint64_t cluster_bytes) {
  return bytes / cluster_bytes + (bytes % cluster_bytes != 0 ? 1 : 0);
}

ExtentKind KindOf(Cluster cluster) {
  switch (cluster) {
    case Cluster::kUnallocated:
      break;
    case Cluster::kZero:
      return ExtentKind::kZero;
    case Cluster::kData:
      return ExtentKind::kOpaque;
  }
  return ExtentKind::kUnallocated;
}

// Holds its clusters until it is destroyed, so that the check of the map, the data and the link are
// one piece for everyone else who allocates, zeroes or discards there.
class OverlayAllocation final : public Allocation {
 public:
  RangeLock::Hold& hold() { return hold_; }
  void Skip(uint64_t bytes) { skip_bytes_ = bytes; }
  void CoverInPlace(ByteRange range) {
    bytes_ = range.bytes;
    clusters_ = range;
    fill_before_ = ByteRange(range.offset, 0);
    fill_after_ = ByteRange(range.end(), 0);
  }
  // `image_end` limits what is filled: beyond it nothing is visible.
  void CoverNew(ByteRange range, ByteRange clusters, uint64_t image_end) {
    bytes_ = range.bytes;
    clusters_ = clusters;
    needs_link_ = true;
    fill_before_ = ByteRange(clusters.offset, range.offset - clusters.offset);
    fill_after_ = ByteRange(range.end(), std::min(clusters.end(), image_end) - range.end());
  }
  // What may be written: the covered part, with whole clusters if these are new.
  const ByteRange& clusters() const { return clusters_; }

 private:
  RangeLock::Hold hold_;
  ByteRange clusters_;
};

class MemoryOverlayDriver final : public FormatDriver {
 public:
  explicit MemoryOverlayDriver(MemoryOverlayOptions options)
      : filename_(std::move(options.filename)),
        map_takes_step_(options.map_takes_step),
        image_(std::move(options.image)) {
    if (image_ != nullptr) return;
    image_ = std::make_shared<Image>(options.bytes, options.cluster_bytes);
    image_->backing = std::move(options.backing);
  }

  std::string_view driver_name() const override { return "memory-overlay"; }
  uint64_t bytes() const override { return image_->bytes; }
  std::string filename() const override { return filename_; }
  bool has_primary() const override { return false; }
  uint64_t zero_granularity() const override { return image_->cluster_bytes; }
  bool supports_backing() const override { return true; }
  BackingReference backing_reference() const override { return image_->backing; }

  absl::Status CoOpen(DriverContext& context) override MILLRACE_MAY_SUSPEND {
    context_ = &context;
    return absl::OkStatus();
  }

  absl::StatusOr<Extent> CoMap(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<std::unique_ptr<Allocation>> CoAllocate(ByteRange range, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteOpaque(Allocation& allocation, uint64_t offset,
                             const IoVector& source) override MILLRACE_MAY_SUSPEND;
  absl::Status CoLink(Allocation& allocation) override MILLRACE_MAY_SUSPEND;
  void CoAbandon(Allocation&) override MILLRACE_MAY_SUSPEND {}
  absl::Status CoReadEncoded(ByteRange range, const IoVector& target) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoForget(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoFlushMetadata() override MILLRACE_MAY_SUSPEND;
  absl::Status CoResize(uint64_t new_bytes, ResizeFlags flags) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteBackingReference(const BackingReference& reference) override
      MILLRACE_MAY_SUSPEND;

 private:
  Cluster At(uint64_t offset) const { return image_->map[offset / image_->cluster_bytes]; }
  ByteRange WholeClusters(ByteRange range) const;
  // Whether a range that may have ended with the image does not any more: the image has grown.
  bool EndsInCluster(ByteRange range) const;
  // How many bytes from range.offset on lie in clusters for which `wanted` holds; 0 if the first
  // does not.
  template <typename Wanted>
  uint64_t RunOf(ByteRange range, Wanted wanted) const;
  // Sets the clusters of `range` for which `wanted` holds.
  template <typename Wanted>
  void Set(ByteRange range, Cluster value, Wanted wanted);

  const std::string filename_;
  const bool map_takes_step_;
  std::shared_ptr<Image> image_;
  DriverContext* context_ = nullptr;
  RangeLock clusters_{"clusters of a memory overlay"};
};

ByteRange MemoryOverlayDriver::WholeClusters(ByteRange range) const {
  const uint64_t from = AlignDown(range.offset, image_->cluster_bytes);
  return ByteRange(from, AlignUp(range.end(), image_->cluster_bytes) - from);
}

bool MemoryOverlayDriver::EndsInCluster(ByteRange range) const {
  return range.end() < image_->bytes && !IsAligned(range.end(), image_->cluster_bytes);
}

template <typename Wanted>
uint64_t MemoryOverlayDriver::RunOf(ByteRange range, Wanted wanted) const {
  uint64_t at = range.offset;
  while (at < range.end() && wanted(At(at)))
    at = AlignDown(at, image_->cluster_bytes) + image_->cluster_bytes;
  return std::min(at, range.end()) - range.offset;
}

template <typename Wanted>
void MemoryOverlayDriver::Set(ByteRange range, Cluster value, Wanted wanted) {
  for (uint64_t at = range.offset; at < range.end(); at += image_->cluster_bytes) {
    Cluster& cluster = image_->map[at / image_->cluster_bytes];
    if (wanted(cluster)) cluster = value;
  }
}

absl::StatusOr<Extent> MemoryOverlayDriver::CoMap(ByteRange range) {
  if (map_takes_step_) {
    MILLRACE_RETURN_IF_ERROR(CoMemoryStep(*context_, "map", range, [] {}));
  }
  const Cluster first = At(range.offset);
  Extent extent;
  extent.kind = KindOf(first);
  extent.bytes = RunOf(range, [first](Cluster each) { return each == first; });
  return extent;
}

absl::StatusOr<std::unique_ptr<Allocation>> MemoryOverlayDriver::CoAllocate(ByteRange range,
                                                                            WriteFlags flags) {
  auto allocation = std::make_unique<OverlayAllocation>();
  clusters_.CoAcquire(WholeClusters(range), LockMode::kExclusive, allocation->hold());
  const bool only_fill = flags.only_if_unallocated;
  const auto is_new = [only_fill](Cluster each) {
    return only_fill ? each == Cluster::kUnallocated : each != Cluster::kData;
  };
  const uint64_t in_place = RunOf(range, [&](Cluster each) { return !is_new(each); });
  if (in_place > 0 && only_fill) {
    allocation->Skip(in_place);
  } else if (in_place > 0) {
    allocation->CoverInPlace(ByteRange(range.offset, in_place));
  } else {
    const ByteRange covered(range.offset, RunOf(range, is_new));
    allocation->CoverNew(covered, WholeClusters(covered), image_->bytes);
  }
  return std::unique_ptr<Allocation>(std::move(allocation));
}

absl::Status MemoryOverlayDriver::CoWriteOpaque(Allocation& allocation, uint64_t offset,
                                                const IoVector& source) {
  const ByteRange range(offset, source.bytes());
  MILLRACE_CHECK(static_cast<OverlayAllocation&>(allocation).clusters().Contains(range),
                 "write outside its allocation");
  return CoMemoryStep(*context_, "write", range, [&] { image_->content.Write(offset, source); });
}

absl::Status MemoryOverlayDriver::CoLink(Allocation& allocation) {
  if (!allocation.needs_link()) return absl::OkStatus();
  const ByteRange linked = static_cast<OverlayAllocation&>(allocation).clusters();
  return CoMemoryStep(*context_, "link clusters of", linked,
                      [&] { Set(linked, Cluster::kData, [](Cluster) { return true; }); });
}

absl::Status MemoryOverlayDriver::CoReadEncoded(ByteRange range, const IoVector& target) {
  return CoMemoryStep(*context_, "read", range,
                      [&] { image_->content.Read(range.offset, target); });
}

absl::Status MemoryOverlayDriver::CoWriteZeroes(ByteRange range, ZeroFlags flags) {
  RangeLock::Hold hold;
  clusters_.CoAcquire(WholeClusters(range), LockMode::kExclusive, hold);
  if (EndsInCluster(range)) return absl::UnimplementedError("not whole clusters");
  return CoMemoryStep(*context_, "write zeroes to", range, [&] {
    Set(range, Cluster::kZero,
        [&](Cluster each) { return !flags.only_if_unallocated || each == Cluster::kUnallocated; });
  });
}

absl::Status MemoryOverlayDriver::CoDiscard(ByteRange range) {
  RangeLock::Hold hold;
  clusters_.CoAcquire(WholeClusters(range), LockMode::kExclusive, hold);
  if (EndsInCluster(range))
    range.bytes = AlignDown(range.end(), image_->cluster_bytes) - range.offset;
  // A discarded cluster reads as zeroes: what the backing has there must not reappear. The content
  // stays as it is, for readers that looked at the map before.
  return CoMemoryStep(*context_, "discard", range, [&] {
    const bool has_backing = context_->HasChild(Role::kBacking);
    Set(range, Cluster::kZero,
        [&](Cluster each) { return has_backing || each != Cluster::kUnallocated; });
  });
}

absl::Status MemoryOverlayDriver::CoForget(ByteRange range) {
  RangeLock::Hold hold;
  clusters_.CoAcquire(WholeClusters(range), LockMode::kExclusive, hold);
  if (EndsInCluster(range))
    range.bytes = AlignDown(range.end(), image_->cluster_bytes) - range.offset;
  return CoMemoryStep(*context_, "discard", range,
                      [&] { Set(range, Cluster::kUnallocated, [](Cluster) { return true; }); });
}

absl::Status MemoryOverlayDriver::CoFlushMetadata() {
  return CoMemoryStep(*context_, "flush", ByteRange(), [] {});
}

absl::Status MemoryOverlayDriver::CoResize(uint64_t new_bytes, ResizeFlags flags) {
  if (ClusterCount(new_bytes, image_->cluster_bytes) > kMemoryOverlayClustersMax) {
    return absl::ResourceExhaustedError(StrCat(
        "resize '", context_->node_name(), "' to ", new_bytes, ": a memory overlay has at most ",
        kMemoryOverlayClustersMax, " clusters; use larger ones"));
  }
  return CoMemoryStep(*context_, "resize", ByteRange(new_bytes, 0), [&] {
    // The rest of the last cluster, and what shrinking cuts off, must not come back by growing.
    const uint64_t keep = std::min(new_bytes, image_->bytes);
    const uint64_t end = AlignUp(std::max(new_bytes, image_->bytes), image_->cluster_bytes);
    image_->content.Zero(ByteRange(keep, end - keep));
    image_->map.resize(ClusterCount(new_bytes, image_->cluster_bytes),
                       flags.zero_new_part ? Cluster::kZero : Cluster::kUnallocated);
    image_->bytes = new_bytes;
  });
}

absl::Status MemoryOverlayDriver::CoWriteBackingReference(const BackingReference& reference) {
  return CoMemoryStep(*context_, "write header of", ByteRange(),
                      [&] { image_->backing = reference; });
}

}  // namespace

MemoryOverlayImage::MemoryOverlayImage(uint64_t image_bytes, uint64_t image_cluster_bytes)
    : bytes(image_bytes), cluster_bytes(image_cluster_bytes) {
  MILLRACE_CHECK(IsPowerOfTwo(cluster_bytes), "cluster size is not a power of two");
  MILLRACE_CHECK(ClusterCount(bytes, cluster_bytes) <= kMemoryOverlayClustersMax,
                 "too many clusters for a memory overlay");
  map.resize(ClusterCount(bytes, cluster_bytes), Cluster::kUnallocated);
}

std::unique_ptr<FormatDriver> MakeMemoryOverlayDriver(MemoryOverlayOptions options) {
  return std::make_unique<MemoryOverlayDriver>(std::move(options));
}

}  // namespace millrace
