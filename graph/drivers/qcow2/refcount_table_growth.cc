// Growing the refcount table: a new table, with the refcount blocks that cover it, is written
// behind everything the old one covers; then the header is switched over.
#include <algorithm>
#include <utility>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/refcount_codec.h"
#include "millrace/graph/drivers/qcow2/refcounts.h"

namespace millrace::qcow2 {

struct Refcounts::TableGrowth {
  uint64_t first = 0;           // cluster of the first new block
  uint64_t blocks = 0;          // that cover themselves and the table, which follows them
  uint64_t table_clusters = 0;  // of the new table
};

absl::StatusOr<Refcounts::TableGrowth> Refcounts::PlanGrowth(uint64_t blocks_min) const {
  const Geometry& geometry = image_.geometry();
  const uint64_t per_block = geometry.refcounts_per_block();
  const uint64_t entries_per_cluster = geometry.cluster_bytes() / 8;
  TableGrowth growth;
  const uint64_t old_blocks = table_entries();
  growth.first = old_blocks << geometry.refcount_block_bits();
  // Half as much again, so that growing is rare.
  growth.table_clusters = std::max<uint64_t>(
      (blocks_min + entries_per_cluster - 1) / entries_per_cluster,
      image_.header().refcount_table_clusters + image_.header().refcount_table_clusters / 2 + 1);
  const uint64_t table_clusters_max =
      std::max<uint64_t>(kRefcountTableBytesMax >> geometry.cluster_bits, 1);
  growth.table_clusters = std::min(growth.table_clusters, table_clusters_max);
  growth.blocks = 1;
  while (growth.blocks * per_block < growth.blocks + growth.table_clusters) ++growth.blocks;
  const uint64_t needed = std::max(blocks_min, old_blocks + growth.blocks);
  if (needed > growth.table_clusters * entries_per_cluster ||
      growth.first + growth.blocks + growth.table_clusters >= clusters_end()) {
    return image_.Named(absl::ResourceExhaustedError(
        StrCat("no space: the refcount table has reached its limit of ", kRefcountTableBytesMax,
               " bytes")));
  }
  return growth;
}

absl::Status Refcounts::CoWriteGrownTable(const TableGrowth& growth) {
  const Geometry& geometry = image_.geometry();
  const uint64_t offset = growth.first << geometry.cluster_bits;
  std::vector<uint8_t> content((growth.blocks + growth.table_clusters) << geometry.cluster_bits);
  // The blocks are neighbours in the file as their clusters are in number.
  for (uint64_t i = 0; i < growth.blocks + growth.table_clusters; ++i) {
    StoreRefcount(content.data(), i, geometry.refcount_order, 1);
  }
  uint8_t* table = content.data() + (growth.blocks << geometry.cluster_bits);
  for (uint64_t entry = 0; entry < table_entries(); ++entry) {
    MILLRACE_ASSIGN_OR_RETURN(
        const TableCache::SliceRef slice,
        image_.CoGetEntry(TableKind::kRefcountTable, TableEntry(entry), Access::kWrite));
    std::copy_n(slice.At(TableEntry(entry)), 8, table + 8 * entry);
  }
  for (uint64_t block = 0; block < growth.blocks; ++block) {
    StoreBig<uint64_t>(table + 8 * (table_entries() + block),
                       offset + (block << geometry.cluster_bits));
  }
  image_.file().CoEvent("refblock_alloc_write_blocks");
  image_.file().CoEvent("refblock_alloc_write_table");
  return image_.file().CoWriteBytes(offset, content);
}

absl::Status Refcounts::CoGrowTable(uint64_t blocks_min) {
  image_.file().CoEvent("reftable_grow");
  MILLRACE_ASSIGN_OR_RETURN(const TableGrowth growth, PlanGrowth(blocks_min));
  const ClusterRun fresh{HostCluster(growth.first), growth.blocks + growth.table_clusters};
  MILLRACE_RETURN_IF_ERROR(CoCheckFree(fresh));
  const Geometry& geometry = image_.geometry();
  // No round may run meanwhile: it would write entries of the old table, and blocks that the new
  // one points at must be on disk before the header is.
  MutexLock rounds(CoHold(writeback_.mutex()));
  MILLRACE_RETURN_IF_ERROR(CoWriteGrownTable(growth));
  MILLRACE_RETURN_IF_ERROR(writeback_.CoWriteRefcountBlocks());
  const ClusterRun old{geometry.ClusterOf(HostOffset(image_.header().refcount_table_offset)),
                       image_.header().refcount_table_clusters};
  const uint64_t old_entries = table_entries();
  const uint64_t table = (growth.first + growth.blocks) << geometry.cluster_bits;
  image_.file().CoEvent("refblock_alloc_switch_table");
  MILLRACE_RETURN_IF_ERROR(image_.CoEditHeader([&](Header& header) {
    header.refcount_table_offset = table;
    header.refcount_table_clusters = static_cast<uint32_t>(growth.table_clusters);
  }));
  image_.cache().Forget(HostOffset(old.first.value() << geometry.cluster_bits), old_entries * 8);
  image_.cache().Forget(HostOffset(growth.first << geometry.cluster_bits),
                        fresh.count << geometry.cluster_bits);
  image_.metadata().Remove(old.first, MetadataKind::kRefcountTable);
  for (uint64_t block = 0; block < growth.blocks; ++block) {
    image_.metadata().Add({HostCluster(growth.first + block), 1}, MetadataKind::kRefcountBlock);
  }
  image_.metadata().Add({HostCluster(growth.first + growth.blocks), growth.table_clusters},
                        MetadataKind::kRefcountTable);
  // The header on disk no longer refers to the old table, and no request ever saw it.
  for (uint64_t cluster = old.first.value(); cluster < old.end(); ++cluster) {
    MILLRACE_RETURN_IF_ERROR(CoDecrement(cluster));
  }
  return absl::OkStatus();
}

}  // namespace millrace::qcow2
