// Checker, first part: who refers to which host cluster.
#include <algorithm>
#include <optional>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/bitmap_directory.h"
#include "millrace/graph/drivers/qcow2/checker.h"
#include "millrace/graph/drivers/qcow2/snapshot_table.h"

namespace millrace::qcow2 {
namespace {

constexpr uint64_t kReadBytes = 65536;

}  // namespace

void Checker::CountRange(uint64_t offset, uint64_t bytes, std::string_view what) {
  if (bytes == 0) return;
  const uint64_t first = offset >> geometry_.cluster_bits;
  const uint64_t last = (offset + bytes - 1) >> geometry_.cluster_bits;
  if (offset >= kHostOffsetEnd || last >= file_clusters()) {
    Corruption(StrCat("the ", what, " at ", offset, " with ", bytes,
                      " bytes ends beyond the end of the file at ", file_.bytes()));
    return;
  }
  for (uint64_t cluster = first; cluster <= last; ++cluster) uses_.Add(cluster);
}

void Checker::CountTable(uint64_t offset, uint64_t bytes, std::string_view what) {
  CountRange(offset, bytes, what);
  if (bytes > 0) tables_.push_back({offset, bytes, what});
}

// QEMU counts uses only: with a refcount to match, and no 'copied' flag, it calls that sound.
void Checker::ReportSharedTables() {
  for (const Table& table : tables_) {
    const uint64_t end =
        std::min((table.offset + table.bytes - 1) >> geometry_.cluster_bits, file_clusters() - 1);
    for (uint64_t cluster = table.offset >> geometry_.cluster_bits; cluster <= end; ++cluster) {
      if (uses_.Get(cluster) <= 1) continue;
      Corruption(StrCat("the ", table.what, " at ", table.offset, " shares cluster ", cluster,
                        " with something else"));
      if (table.what == kRefcountTableName) needs_rebuild_ = true;
      break;
    }
  }
}

absl::Status Checker::CoCountUses() {
  uses_ = UseCounts();
  tables_.clear();
  next_host_ = 0;
  CountTable(0, geometry_.cluster_bytes(), "header");
  result_.total_clusters = geometry_.ClustersFor(header_.bytes);
  MILLRACE_RETURN_IF_ERROR(CoCountL1(header_.l1_offset, header_.l1_entries, true));
  MILLRACE_RETURN_IF_ERROR(CoCountSnapshots());
  return CoCountBitmaps();
}

absl::Status Checker::SpendWalk() {
  if (walks_left_ == 0) {
    return absl::DataLossError(
        StrCat("check image '", file_.name(), "': its tables refer to each other without end"));
  }
  --walks_left_;
  return absl::OkStatus();
}

absl::Status Checker::CoCountL1(uint64_t offset, uint64_t entries, bool is_active) {
  CountTable(offset, entries * 8, is_active ? "L1 table" : "L1 table of a snapshot");
  std::vector<uint8_t> buffer(std::min(entries * 8, kReadBytes));
  for (uint64_t index = 0; index < entries; ++index) {
    const uint64_t in_buffer = index * 8 % kReadBytes;
    if (in_buffer == 0) {
      const uint64_t bytes = std::min(entries * 8 - index * 8, kReadBytes);
      MILLRACE_RETURN_IF_ERROR(
          file_.CoReadBytes(offset + index * 8, absl::MakeSpan(buffer).first(bytes)));
    }
    const absl::StatusOr<L1Entry> entry =
        DecodeL1Entry(LoadBig<uint64_t>(&buffer[in_buffer]), geometry_);
    if (!entry.ok()) {
      Corruption(StrCat("L1 index ", index, ": ", FromAbsl(entry.status().message())));
    } else if (entry->l2_table.value() != 0) {
      MILLRACE_RETURN_IF_ERROR(CoCountL2(index, entry->l2_table, is_active));
    }
  }
  return absl::OkStatus();
}

absl::Status Checker::CoCountL2(uint64_t l1_index, HostOffset table, bool is_active) {
  CountRange(table.value(), geometry_.cluster_bytes(), "L2 table");
  if (table.value() >= file_.bytes()) return absl::OkStatus();
  MILLRACE_RETURN_IF_ERROR(SpendWalk());
  std::vector<uint8_t> entries(geometry_.cluster_bytes());
  MILLRACE_RETURN_IF_ERROR(file_.CoReadBytes(table.value(), absl::MakeSpan(entries)));
  for (uint64_t index = 0; index < geometry_.l2_entries(); ++index) {
    const RawL2Entry raw = LoadL2Entry(&entries[index << geometry_.l2_entry_bits()], geometry_);
    if (raw.descriptor == 0 && raw.bitmap == 0) continue;
    const uint64_t guest =
        (l1_index << geometry_.l2_table_bits()) + (index << geometry_.cluster_bits);
    const absl::StatusOr<L2Entry> entry = DecodeL2Entry(raw, geometry_);
    if (!entry.ok()) {
      Corruption(StrCat("guest offset ", guest, ": ", FromAbsl(entry.status().message())));
    } else {
      CountL2Entry(guest, *entry, is_active);
    }
  }
  return absl::OkStatus();
}

void Checker::CountL2Entry(uint64_t guest, const L2Entry& entry, bool is_active) {
  if (entry.is_compressed) {
    const uint64_t offset = entry.compressed.offset.value();
    // The length is in sectors; the last one may be cut off by the end of the file.
    const uint64_t file_end = AlignUp(file_.bytes(), geometry_.cluster_bytes());
    const uint64_t bytes = offset < file_end ? std::min(entry.compressed.bytes, file_end - offset)
                                             : entry.compressed.bytes;
    CountRange(offset, bytes, "compressed data");
    if (is_active) {
      ++result_.allocated_clusters;
      ++result_.compressed_clusters;
      ++result_.fragmented_clusters;
    }
    return;
  }
  if (!entry.has_host()) return;
  const uint64_t host = entry.host.value();
  CountRange(host, geometry_.cluster_bytes(), StrCat("data of guest offset ", guest));
  if (!is_active) return;
  ++result_.allocated_clusters;
  if (next_host_ != 0 && host != next_host_) ++result_.fragmented_clusters;
  next_host_ = host + geometry_.cluster_bytes();
}

absl::Status Checker::CoCountSnapshots() {
  if (header_.snapshot_count == 0) return absl::OkStatus();
  if (header_.snapshot_count > kSnapshotCountMax ||
      !geometry_.IsClusterAligned(header_.snapshots_offset) || header_.snapshots_offset == 0 ||
      header_.snapshots_offset >= file_.bytes()) {
    Corruption(StrCat("the snapshot table at ", header_.snapshots_offset, " with ",
                      header_.snapshot_count, " entries cannot be read"));
    return absl::OkStatus();
  }
  const absl::StatusOr<SnapshotTable> table = CoReadSnapshotTable(file_, header_);
  if (absl::IsInvalidArgument(table.status())) {
    Corruption(FromAbsl(table.status().message()));
    return absl::OkStatus();
  }
  MILLRACE_RETURN_IF_ERROR(table.status());
  CountTable(header_.snapshots_offset, table->bytes, "snapshot table");
  for (const Snapshot& snapshot : table->snapshots) {
    if (!snapshot.has_usable_l1(geometry_, file_.bytes())) {
      Corruption(StrCat("snapshot '", snapshot.name, "': its L1 table at ", snapshot.l1_offset,
                        " with ", snapshot.l1_entries, " entries cannot be right"));
      continue;
    }
    MILLRACE_RETURN_IF_ERROR(CoCountL1(snapshot.l1_offset, snapshot.l1_entries, false));
  }
  return absl::OkStatus();
}

absl::Status Checker::CoCountBitmaps() {
  if ((header_.autoclear_features & kAutoclearBitmaps) == 0) return absl::OkStatus();
  const absl::StatusOr<std::optional<BitmapsExtension>> where =
      FindBitmaps(header_.extensions, geometry_.cluster_bytes(), file_.bytes());
  if (!where.ok()) {
    Corruption(FromAbsl(where.status().message()));
    return absl::OkStatus();
  }
  if (!where->has_value()) return absl::OkStatus();
  CountTable((*where)->directory_offset, (*where)->directory_bytes, "bitmap directory");
  MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> directory,
                            CoReadBitmapDirectory(file_, **where));
  const auto entries = ParseBitmapDirectory(directory, (*where)->bitmap_count);
  if (!entries.ok()) {
    Corruption(FromAbsl(entries.status().message()));
    return absl::OkStatus();
  }
  for (const BitmapEntry& entry : *entries) {
    const uint64_t bytes = uint64_t{entry.table_entries} * 8;
    if (!geometry_.IsClusterAligned(entry.table_offset) || entry.table_offset >= file_.bytes() ||
        bytes > file_.bytes() - entry.table_offset) {
      Corruption(StrCat("bitmap '", entry.name, "': its table at ", entry.table_offset, " with ",
                        entry.table_entries, " entries does not lie in the file"));
      continue;
    }
    CountRange(entry.table_offset, bytes, "bitmap table");
    for (uint64_t i = 0; i < entry.table_entries; ++i) {
      uint8_t raw[8];
      MILLRACE_RETURN_IF_ERROR(file_.CoReadBytes(entry.table_offset + 8 * i, absl::MakeSpan(raw)));
      const absl::StatusOr<uint64_t> data =
          DecodeBitmapTableEntry(LoadBig<uint64_t>(raw), geometry_);
      if (!data.ok()) {
        Corruption(StrCat("bitmap '", entry.name, "': ", FromAbsl(data.status().message())));
      } else if (*data != 0) {
        CountRange(*data, geometry_.cluster_bytes(), "bitmap data");
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace millrace::qcow2
