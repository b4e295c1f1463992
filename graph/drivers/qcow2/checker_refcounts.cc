// Checker, second part: refcounts and "copied" flags against what was counted.
#include <algorithm>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/checker.h"
#include "millrace/graph/drivers/qcow2/refcount_codec.h"

namespace millrace::qcow2 {
namespace {

// Repairs are written in batches of this size.
constexpr uint64_t kDirtyBytesMax = uint64_t{1} << 20;

}  // namespace

uint64_t Checker::table_entries() const {
  const uint64_t offset = header_.refcount_table_offset;
  const uint64_t bytes = header_.refcount_table_bytes();
  const bool is_usable = offset != 0 && geometry_.IsClusterAligned(offset) &&
                         bytes <= kRefcountTableBytesMax && offset <= file_.bytes() &&
                         bytes <= file_.bytes() - offset;
  return is_usable ? bytes / 8 : 0;
}

absl::Status Checker::CoCountRefcountStructures() {
  const uint64_t blocks = table_entries();
  if (blocks == 0) {
    Corruption(StrCat("the refcount table at ", header_.refcount_table_offset, " with ",
                      header_.refcount_table_clusters, " clusters cannot be used"));
    needs_rebuild_ = true;
    return absl::OkStatus();
  }
  CountTable(header_.refcount_table_offset, header_.refcount_table_bytes(), kRefcountTableName);
  for (uint64_t block = 0; block < blocks; ++block) {
    MILLRACE_RETURN_IF_ERROR(StopIfCancelled());
    const HostOffset entry(header_.refcount_table_offset + 8 * block);
    MILLRACE_ASSIGN_OR_RETURN(const TableCache::SliceRef slice,
                              cache_.CoGet(TableKind::kRefcountTable, entry));
    const uint64_t raw = LoadBig<uint64_t>(slice.At(entry));
    if (raw == 0) continue;
    MILLRACE_ASSIGN_OR_RETURN(const HostOffset place, CoBlockPlace(block));
    if (place.value() == 0) {
      Corruption(StrCat("refcount table entry ", block, " is 0x", absl::Hex(raw),
                        ", where no refcount block can be"));
      needs_rebuild_ = true;
      continue;
    }
    const uint64_t cluster = geometry_.ClusterOf(place).value();
    if (uses_.Get(cluster) != 0) {
      Corruption(StrCat("refcount block ", block, " at ", place.value(), " is in use otherwise"));
      needs_rebuild_ = true;
    }
    uses_.Add(cluster);
  }
  return absl::OkStatus();
}

absl::StatusOr<HostOffset> Checker::CoBlockPlace(uint64_t block) {
  if (block >= table_entries()) return HostOffset(0);
  const HostOffset entry(header_.refcount_table_offset + 8 * block);
  MILLRACE_ASSIGN_OR_RETURN(const TableCache::SliceRef slice,
                            cache_.CoGet(TableKind::kRefcountTable, entry));
  const uint64_t raw = LoadBig<uint64_t>(slice.At(entry));
  const bool is_right = (raw & ~kEntryOffsetMask) == 0 && geometry_.IsClusterAligned(raw) &&
                        (raw >> geometry_.cluster_bits) < file_clusters();
  return HostOffset(is_right ? raw : 0);
}

absl::StatusOr<uint64_t> Checker::CoRefcountOf(uint64_t cluster) {
  MILLRACE_ASSIGN_OR_RETURN(const HostOffset place,
                            CoBlockPlace(cluster >> geometry_.refcount_block_bits()));
  if (place.value() == 0) return uint64_t{0};
  const uint64_t index = cluster & (geometry_.refcounts_per_block() - 1);
  const HostOffset byte = place + ((index << geometry_.refcount_order) >> 3);
  MILLRACE_ASSIGN_OR_RETURN(const TableCache::SliceRef slice,
                            cache_.CoGet(TableKind::kRefcountBlock, byte));
  const uint32_t order = geometry_.refcount_order;
  return LoadRefcount(slice.At(byte), order < 3 ? index & ((8u >> order) - 1) : 0, order);
}

bool Checker::CompareOne(uint64_t cluster, uint64_t refcount, Qcow2Repair repair) {
  const uint64_t uses = uses_.Get(cluster);
  if (uses == refcount) return false;
  // Behind the end of the file no space is lost.
  if (uses == 0 && cluster >= geometry_.ClustersFor(file_.bytes())) return false;
  const std::string text =
      StrCat("cluster ", cluster, " has refcount ", refcount, " and ", uses, " uses");
  if (refcount > uses) {
    Leak(text);
    return repair != Qcow2Repair::kNone;
  }
  Corruption(text);
  return repair == Qcow2Repair::kAll && uses <= geometry_.refcount_max();
}

absl::Status Checker::CoCompareBlock(uint64_t block, HostOffset place, Qcow2Repair repair) {
  const uint32_t order = geometry_.refcount_order;
  const uint64_t per_slice = (cache_.slice_bytes() * 8) >> order;
  const uint64_t first = block << geometry_.refcount_block_bits();
  // Nothing behind the end of the file is in use, or lost; QEMU does not look there either.
  for (uint64_t start = 0;
       start < geometry_.refcounts_per_block() && first + start < file_clusters();
       start += per_slice) {
    const HostOffset slice_place = place + ((start << order) >> 3);
    MILLRACE_ASSIGN_OR_RETURN(TableCache::SliceRef slice,
                              cache_.CoGet(TableKind::kRefcountBlock, slice_place));
    for (uint64_t i = 0; i < per_slice; ++i) {
      const uint64_t cluster = first + start + i;
      const uint64_t refcount = LoadRefcount(slice.At(slice_place), i, order);
      if (!CompareOne(cluster, refcount, repair)) continue;
      uint8_t* counts = cache_.Change(slice, slice_place, cache_.slice_bytes());
      StoreRefcount(counts, i, order, uses_.Get(cluster));
    }
    if (cache_.dirty_bytes() > kDirtyBytesMax) MILLRACE_RETURN_IF_ERROR(CoWriteChanges());
  }
  return absl::OkStatus();
}

void Checker::ReportUncovered(uint64_t from_block, uint64_t to_block) {
  if (from_block == to_block) return;
  const uint64_t end = to_block << geometry_.refcount_block_bits();
  for (uint64_t cluster = uses_.Next(from_block << geometry_.refcount_block_bits(), end);
       cluster < end; cluster = uses_.Next(cluster + 1, end)) {
    Corruption(StrCat("cluster ", cluster, " has no refcount and ", uses_.Get(cluster), " uses"));
    needs_rebuild_ = true;
  }
}

absl::Status Checker::CoCompareRefcounts(Qcow2Repair repair) {
  const uint64_t blocks = table_entries();
  uint64_t uncovered = 0;  // from here up to the block that is looked at there are none
  for (uint64_t block = 0; block < blocks; ++block) {
    MILLRACE_RETURN_IF_ERROR(StopIfCancelled());
    MILLRACE_ASSIGN_OR_RETURN(const HostOffset place, CoBlockPlace(block));
    if (place.value() == 0) continue;
    ReportUncovered(uncovered, block);
    uncovered = block + 1;
    // A block that is something else as well has been reported; what it says means nothing.
    if (uses_.Get(geometry_.ClusterOf(place).value()) != 1) continue;
    MILLRACE_RETURN_IF_ERROR(CoCompareBlock(block, place, repair));
  }
  const uint64_t used_blocks = (uses_.end() >> geometry_.refcount_block_bits()) + 1;
  ReportUncovered(uncovered, std::max(blocks, used_blocks));
  return CoWriteChanges();
}

absl::Status Checker::CoCompareFlags(Qcow2Repair repair) {
  absl::flat_hash_set<uint64_t> compared;  // L2 tables; look-ups only
  for (uint64_t index = 0; index < header_.l1_entries; ++index) {
    MILLRACE_RETURN_IF_ERROR(StopIfCancelled());
    const HostOffset place(header_.l1_offset + 8 * index);
    MILLRACE_ASSIGN_OR_RETURN(TableCache::SliceRef slice, cache_.CoGet(TableKind::kL1, place));
    absl::StatusOr<L1Entry> entry = DecodeL1Entry(LoadBig<uint64_t>(slice.At(place)), geometry_);
    if (!entry.ok() || entry->l2_table.value() == 0 || entry->l2_table.value() >= file_.bytes()) {
      continue;
    }
    MILLRACE_ASSIGN_OR_RETURN(const uint64_t refcount,
                              CoRefcountOf(geometry_.ClusterOf(entry->l2_table).value()));
    if (entry->is_copied != (refcount == 1)) {
      Corruption(StrCat("the 'copied' flag of the L2 table at ", entry->l2_table.value(),
                        " is wrong for refcount ", refcount));
      if (repair == Qcow2Repair::kAll) {
        entry->is_copied = refcount == 1;
        StoreBig<uint64_t>(cache_.Change(slice, place, 8), EncodeL1Entry(*entry));
      }
    }
    if (!compared.insert(entry->l2_table.value()).second) continue;
    MILLRACE_RETURN_IF_ERROR(CoCompareL2Flags(entry->l2_table, repair));
  }
  return CoWriteChanges();
}

absl::Status Checker::CoCompareL2Flags(HostOffset table, Qcow2Repair repair) {
  for (uint64_t index = 0; index < geometry_.l2_entries(); ++index) {
    const HostOffset place = table + (index << geometry_.l2_entry_bits());
    MILLRACE_ASSIGN_OR_RETURN(TableCache::SliceRef slice, cache_.CoGet(TableKind::kL2, place));
    const RawL2Entry raw = LoadL2Entry(slice.At(place), geometry_);
    if (raw.descriptor == 0) continue;
    absl::StatusOr<L2Entry> entry = DecodeL2Entry(raw, geometry_);
    if (!entry.ok() || entry->is_compressed || !entry->has_host()) continue;
    MILLRACE_ASSIGN_OR_RETURN(const uint64_t refcount,
                              CoRefcountOf(geometry_.ClusterOf(entry->host).value()));
    if (entry->is_copied == (refcount == 1)) continue;
    Corruption(StrCat("the 'copied' flag of the data at ", entry->host.value(),
                      " is wrong for refcount ", refcount));
    if (repair != Qcow2Repair::kAll) continue;
    entry->is_copied = refcount == 1;
    const uint64_t bytes = uint64_t{1} << geometry_.l2_entry_bits();
    StoreL2Entry(cache_.Change(slice, place, bytes), EncodeL2Entry(*entry, geometry_), geometry_);
  }
  if (cache_.dirty_bytes() > kDirtyBytesMax) MILLRACE_RETURN_IF_ERROR(CoWriteChanges());
  return absl::OkStatus();
}

absl::Status Checker::CoWriteChanges() {
  for (TableKind kind : {TableKind::kRefcountBlock, TableKind::kL2, TableKind::kL1}) {
    const TableCache::Batch batch = cache_.TakeDirty(kind);
    if (batch.empty()) continue;
    has_written_ = true;
    MILLRACE_RETURN_IF_ERROR(cache_.CoWrite(batch));
    MILLRACE_RETURN_IF_ERROR(file_.CoFlush());
  }
  return absl::OkStatus();
}

}  // namespace millrace::qcow2
