#include "millrace/graph/drivers/qcow2/refcounts.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/refcount_codec.h"

namespace millrace::qcow2 {
namespace {

// By no more than this does a file grow just because it has grown by as much already: until it is
// cut off again, it is lost to others on the host's file system.
constexpr uint64_t kAheadMax = uint64_t{256} << 20;

}  // namespace

HostOffset Refcounts::ByteOf(HostOffset block, uint64_t cluster) const {
  const Geometry& geometry = image_.geometry();
  const uint64_t index = cluster & (geometry.refcounts_per_block() - 1);
  return block + ((index << geometry.refcount_order) >> 3);
}

absl::StatusOr<std::optional<HostOffset>> Refcounts::CoFindBlock(uint64_t cluster) {
  const uint64_t block = cluster >> image_.geometry().refcount_block_bits();
  if (block >= table_entries()) return std::optional<HostOffset>();
  MILLRACE_ASSIGN_OR_RETURN(
      const TableCache::SliceRef slice,
      image_.CoGetEntry(TableKind::kRefcountTable, TableEntry(block), Access::kWrite));
  const uint64_t raw = LoadBig<uint64_t>(slice.At(TableEntry(block)));
  if (raw == 0) return std::optional<HostOffset>();
  const HostOffset offset(raw & kEntryOffsetMask);
  if (offset.value() != raw || !image_.geometry().IsClusterAligned(raw)) {
    return image_.CoCorrupt(
        StrCat("refcount table entry ", block, " points to ", raw,
               ", where no refcount block can be"),
        {.kind = Qcow2Corruption::Kind::kRefcountBlock, .host = raw, .index = block});
  }
  // A file may end in a block, whose rest are zeroes. What a window cuts off is not known: clusters
  // that are in use would be handed out. Who asks for a refcount is about to write.
  const uint64_t needed = image_.file().is_window() ? image_.geometry().cluster_bytes() : 1;
  if (raw + needed > image_.file().bytes()) {
    return image_.CoBehindEnd(
        StrCat("refcount table entry ", block, ": the refcount block at ", raw, " ends"),
        Access::kWrite);
  }
  return std::optional<HostOffset>(offset);
}

absl::StatusOr<uint64_t> Refcounts::CoGet(uint64_t cluster) {
  MILLRACE_ASSIGN_OR_RETURN(const std::optional<HostOffset> block, CoFindBlock(cluster));
  if (!block.has_value()) return uint64_t{0};
  const HostOffset byte = ByteOf(*block, cluster);
  MILLRACE_ASSIGN_OR_RETURN(const TableCache::SliceRef slice,
                            image_.cache().CoGet(TableKind::kRefcountBlock, byte));
  const uint32_t order = image_.geometry().refcount_order;
  const uint64_t index_in_byte = order < 3 ? cluster & ((8u >> order) - 1) : 0;
  return LoadRefcount(slice.At(byte), index_in_byte, order);
}

absl::Status Refcounts::CoSet(ClusterRun run, uint64_t refcount) {
  for (uint64_t cluster = run.first.value(); cluster < run.end(); ++cluster) {
    MILLRACE_ASSIGN_OR_RETURN(const std::optional<HostOffset> block, CoFindBlock(cluster));
    if (!block.has_value()) {
      return image_.CoCorrupt(StrCat("cluster ", cluster, " is in use, but has no refcount"));
    }
    MILLRACE_RETURN_IF_ERROR(CoStore(*block, cluster, refcount));
  }
  return absl::OkStatus();
}

absl::Status Refcounts::CoStore(HostOffset block, uint64_t cluster, uint64_t refcount) {
  const uint32_t order = image_.geometry().refcount_order;
  const HostOffset byte = ByteOf(block, cluster);
  MILLRACE_ASSIGN_OR_RETURN(TableCache::SliceRef slice,
                            image_.cache().CoGet(TableKind::kRefcountBlock, byte));
  const uint64_t index_in_byte = order < 3 ? cluster & ((8u >> order) - 1) : 0;
  const uint64_t bytes = order < 3 ? 1 : uint64_t{1} << (order - 3);
  StoreRefcount(image_.cache().Change(slice, byte, bytes), index_in_byte, order, refcount);
  return absl::OkStatus();
}

absl::Status Refcounts::CoCheckFree(ClusterRun run) {
  const std::optional<MetadataKind> there = image_.metadata().Find(run);
  if (!there.has_value()) return absl::OkStatus();
  const Geometry& geometry = image_.geometry();
  const ByteRange range(geometry.OffsetOf(run.first).value(), run.count << geometry.cluster_bits);
  return image_.CoCorrupt(
      StrCat("cluster ", run.first.value(), " (", run.count,
             " in a row) is free by its refcount, but overlaps the ", MetadataKindName(*there)),
      OverlapWith(*there, range));
}

absl::StatusOr<Refcounts::FreeStretch> Refcounts::CoScanSlice(uint64_t cluster,
                                                              uint64_t count_max) {
  FreeStretch stretch;
  MILLRACE_ASSIGN_OR_RETURN(const std::optional<HostOffset> block, CoFindBlock(cluster));
  if (!block.has_value()) {
    stretch.has_block = false;
    return stretch;
  }
  const uint32_t order = image_.geometry().refcount_order;
  const HostOffset byte = ByteOf(*block, cluster);
  MILLRACE_ASSIGN_OR_RETURN(const TableCache::SliceRef slice,
                            image_.cache().CoGet(TableKind::kRefcountBlock, byte));
  const uint8_t* counts = slice.At(byte);
  uint64_t index = order < 3 ? cluster & ((8u >> order) - 1) : 0;
  const uint64_t first = index;
  const uint64_t end = (slice.BytesFrom(byte) * 8) >> order;
  while (index < end && LoadRefcount(counts, index, order) != 0) ++index;
  stretch.skipped = index - first;
  while (index < end && stretch.count < count_max && LoadRefcount(counts, index, order) == 0) {
    ++stretch.count;
    ++index;
  }
  stretch.reaches_end = index == end;
  return stretch;
}

absl::StatusOr<ClusterRun> Refcounts::CoSearch(uint64_t start, uint64_t count_min,
                                               uint64_t count_max) {
  ClusterRun run{HostCluster(start), 0};
  for (uint64_t cluster = start;;) {
    MILLRACE_ASSIGN_OR_RETURN(const FreeStretch stretch,
                              CoScanSlice(cluster, count_max - run.count));
    if (!stretch.has_block) {
      if (run.count >= count_min) return run;
      return ClusterRun{HostCluster(cluster), 0};
    }
    if (stretch.skipped > 0) {
      if (run.count >= count_min) return run;
      run = {HostCluster(cluster + stretch.skipped), 0};
    }
    if (run.count == 0) run.first = HostCluster(cluster + stretch.skipped);
    run.count += stretch.count;
    if (run.count == count_max) return run;
    if (!stretch.reaches_end || run.count >= count_min) {
      if (run.count >= count_min) return run;
      run.count = 0;
    }
    cluster += stretch.skipped + stretch.count;
  }
}

absl::StatusOr<ClusterRun> Refcounts::CoAllocate(uint64_t count_max) {
  if (MILLRACE_BUGGIFY("qcow2: hands out single clusters")) count_max = 1;
  MutexLock lock(CoHold(mutex_));
  MILLRACE_RETURN_IF_ERROR(image_.write_error());
  image_.file().CoEvent("cluster_alloc");
  while (true) {
    MILLRACE_ASSIGN_OR_RETURN(const ClusterRun run, CoSearch(search_start_, 1, count_max));
    search_start_ = run.first.value();
    if (run.end() >= clusters_end()) {
      return image_.Named(absl::ResourceExhaustedError(
          "no space: the image file has reached the largest size the format can address"));
    }
    if (run.count == 0) {
      const uint64_t block_bits = image_.geometry().refcount_block_bits();
      const uint64_t first = search_start_ >> block_bits << block_bits;
      MILLRACE_RETURN_IF_ERROR(CoAddBlocks(first, 0).status());
      continue;
    }
    MILLRACE_RETURN_IF_ERROR(CoCheckFree(run));
    image_.file().CoEvent("refblock_alloc");  // QEMU asks for the block then, if it exists or not
    MILLRACE_RETURN_IF_ERROR(CoSet(run, 1));
    search_start_ = run.end();
    highest_end_ = std::max(highest_end_, run.end());
    return run;
  }
}

absl::StatusOr<ClusterRun> Refcounts::CoAllocateExactly(uint64_t count) {
  MutexLock lock(CoHold(mutex_));
  MILLRACE_RETURN_IF_ERROR(image_.write_error());
  image_.file().CoEvent("cluster_alloc");
  MILLRACE_ASSIGN_OR_RETURN(const ClusterRun run, CoSearch(search_start_, count, count));
  if (run.count == count) {
    MILLRACE_RETURN_IF_ERROR(CoCheckFree(run));
    image_.file().CoEvent("refblock_alloc");
    MILLRACE_RETURN_IF_ERROR(CoSet(run, 1));
    highest_end_ = std::max(highest_end_, run.end());
    return run;
  }
  MILLRACE_ASSIGN_OR_RETURN(const uint64_t tail, CoFindTail());
  MILLRACE_ASSIGN_OR_RETURN(const ClusterRun added, CoAddBlocks(tail, count));
  highest_end_ = std::max(highest_end_, added.end());
  return added;
}

void Refcounts::CoGrowFile(uint64_t ahead) {
  // Nobody is handed a cluster meanwhile, so nothing can be written behind the new end.
  MutexLock lock(CoHold(mutex_));
  const Geometry& geometry = image_.geometry();
  const uint64_t old_bytes = image_.file().bytes();
  const uint64_t needed = highest_end_ << geometry.cluster_bits;
  if (needed <= old_bytes || !image_.write_error().ok()) return;
  if (!end_before_growth_) end_before_growth_ = geometry.ClustersFor(old_bytes);
  const uint64_t grown = needed - std::min(needed, *end_before_growth_ << geometry.cluster_bits);
  const uint64_t more = std::max(ahead, std::min(grown, kAheadMax));
  const uint64_t bytes = std::min(needed + AlignUp(more, geometry.cluster_bytes()),
                                  clusters_end() << geometry.cluster_bits);
  // With the host's blocks: a write into a hole takes the file for itself as well, and whoever
  // reads it meanwhile, a guest for instance, waits. What lies below `needed` may be being written.
  const ByteRange ahead_of_all(needed, bytes - needed);
  if (!ahead_of_all.empty() && image_.file().CoReserve(ahead_of_all).ok()) return;
  (void)image_.file().CoResize(bytes);
}

void Refcounts::CoTrimFile() {
  if (!end_before_growth_) return;
  MutexLock lock(CoHold(mutex_));
  const Geometry& geometry = image_.geometry();
  const uint64_t old_end = geometry.ClustersFor(image_.file().bytes());
  const uint64_t first = std::max(*end_before_growth_, highest_end_);
  uint64_t end = old_end;
  while (end > first) {
    const absl::StatusOr<uint64_t> refcount = CoGet(end - 1);
    if (!refcount.ok() || *refcount != 0) break;
    --end;
  }
  end_before_growth_.reset();
  if (end < old_end) (void)image_.file().CoResize(end << geometry.cluster_bits);
}

absl::StatusOr<uint64_t> Refcounts::CoFindTail() {
  uint64_t tail = 0;
  for (uint64_t block = 0; block < table_entries(); ++block) {
    MILLRACE_ASSIGN_OR_RETURN(
        const TableCache::SliceRef slice,
        image_.CoGetEntry(TableKind::kRefcountTable, TableEntry(block), Access::kWrite));
    if (LoadBig<uint64_t>(slice.At(TableEntry(block))) != 0) tail = block + 1;
  }
  return tail << image_.geometry().refcount_block_bits();
}

absl::StatusOr<ClusterRun> Refcounts::CoAddBlocks(uint64_t first, uint64_t payload) {
  const Geometry& geometry = image_.geometry();
  const uint64_t per_block = geometry.refcounts_per_block();
  uint64_t blocks = 1;
  while (blocks * per_block < blocks + payload) ++blocks;
  const uint64_t first_block = first / per_block;
  if (first_block + blocks > table_entries()) {
    MILLRACE_RETURN_IF_ERROR(CoGrowTable(first_block + blocks));
    // The new table lies where these blocks were to be, with blocks of its own.
    if (payload == 0) return ClusterRun{HostCluster(first), 0};
    MILLRACE_ASSIGN_OR_RETURN(const uint64_t tail, CoFindTail());
    return CoAddBlocks(tail, payload);
  }
  if (first + blocks + payload >= clusters_end()) {
    return image_.Named(absl::ResourceExhaustedError(
        "no space: the image file has reached the largest size the format can address"));
  }
  MILLRACE_RETURN_IF_ERROR(CoCheckFree({HostCluster(first), blocks + payload}));
  image_.file().CoEvent("refblock_alloc");
  const uint64_t offset = first << geometry.cluster_bits;
  image_.file().CoEvent("refblock_alloc_write");
  MILLRACE_RETURN_IF_ERROR(
      image_.file().CoWriteZeroes(ByteRange(offset, blocks << geometry.cluster_bits)));
  // A cache entry from an earlier use of these clusters would hide the zeroes.
  image_.cache().Forget(HostOffset(offset), blocks << geometry.cluster_bits);
  MILLRACE_RETURN_IF_ERROR(CoFillNewBlocks(first, blocks + payload));
  for (uint64_t block = 0; block < blocks; ++block) {
    const uint64_t place = offset + (block << geometry.cluster_bits);
    MILLRACE_ASSIGN_OR_RETURN(TableCache::SliceRef slice,
                              image_.CoGetEntry(TableKind::kRefcountTable,
                                                TableEntry(first_block + block), Access::kWrite));
    StoreBig<uint64_t>(image_.cache().Change(slice, TableEntry(first_block + block), 8), place);
    image_.metadata().Add({geometry.ClusterOf(HostOffset(place)), 1}, MetadataKind::kRefcountBlock);
  }
  return ClusterRun{HostCluster(first + blocks), payload};
}

absl::Status Refcounts::CoFillNewBlocks(uint64_t first, uint64_t count) {
  const Geometry& geometry = image_.geometry();
  for (uint64_t cluster = first; cluster < first + count; ++cluster) {
    const uint64_t block = first + (cluster - first) / geometry.refcounts_per_block();
    MILLRACE_RETURN_IF_ERROR(CoStore(geometry.OffsetOf(HostCluster(block)), cluster, 1));
  }
  return absl::OkStatus();
}

absl::Status Refcounts::CoDecrement(uint64_t cluster) {
  MILLRACE_ASSIGN_OR_RETURN(const uint64_t refcount, CoGet(cluster));
  if (refcount == 0) {
    return image_.CoCorrupt(StrCat("cluster ", cluster, " is given back, but was free already"));
  }
  MILLRACE_RETURN_IF_ERROR(CoSet({HostCluster(cluster), 1}, refcount - 1));
  if (refcount == 1) search_start_ = std::min(search_start_, cluster);
  return absl::OkStatus();
}

absl::Status Refcounts::CoRelease(ClusterRun run, bool discard) {
  MutexLock lock(CoHold(mutex_));
  MILLRACE_RETURN_IF_ERROR(image_.write_error());
  image_.file().CoEvent("cluster_free");
  const Geometry& geometry = image_.geometry();
  MILLRACE_RETURN_IF_ERROR(image_.CoCheckNoMetadata(run, kGuestData));
  // Discarded before it is free: afterwards it may be somebody's.
  uint64_t pending = run.first.value();
  for (uint64_t cluster = run.first.value(); discard && cluster <= run.end(); ++cluster) {
    uint64_t refcount = 0;
    if (cluster < run.end()) {
      MILLRACE_ASSIGN_OR_RETURN(refcount, CoGet(cluster));
    }
    if (refcount == 1) continue;
    if (cluster > pending) {
      // Failure costs space in the host's file, no more.
      (void)image_.file().CoDiscard(ByteRange(pending << geometry.cluster_bits,
                                              (cluster - pending) << geometry.cluster_bits));
    }
    pending = cluster + 1;
  }
  for (uint64_t cluster = run.first.value(); cluster < run.end(); ++cluster) {
    MILLRACE_RETURN_IF_ERROR(CoDecrement(cluster));
  }
  return absl::OkStatus();
}

absl::Status Refcounts::CoReleaseL2Table(HostCluster cluster) {
  MutexLock lock(CoHold(mutex_));
  MILLRACE_RETURN_IF_ERROR(image_.write_error());
  image_.file().CoEvent("cluster_free");
  MILLRACE_ASSIGN_OR_RETURN(const uint64_t refcount, CoGet(cluster.value()));
  const uint64_t users = image_.metadata().DropUser(cluster);
  if (refcount <= users) {
    return image_.CoCorrupt(StrCat("the L2 table in cluster ", cluster.value(), " with refcount ",
                                   refcount, " is given back, but has ", users, " users more"));
  }
  MILLRACE_RETURN_IF_ERROR(CoDecrement(cluster.value()));
  if (refcount == 1) image_.metadata().Remove(cluster, MetadataKind::kL2Table);
  return absl::OkStatus();
}

}  // namespace millrace::qcow2
