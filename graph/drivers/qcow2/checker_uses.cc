// Checker, first part: who refers to which host cluster.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/bitmap_directory.h"
#include "millrace/graph/drivers/qcow2/checker.h"
#include "millrace/graph/drivers/qcow2/snapshot_table.h"

namespace millrace::qcow2 {
namespace {

// The entries of a table, one after the other, read a piece at a time.
class TableReader {
 public:
  TableReader(ImageFile& file, uint64_t offset, uint64_t entries)
      : file_(file), offset_(offset), bytes_(entries * 8), buffer_(std::min(bytes_, kPiece)) {}

  bool is_at_end() const { return done_ == bytes_; }
  absl::StatusOr<uint64_t> CoNext() MILLRACE_MAY_SUSPEND {
    if (done_ % kPiece == 0) {
      const uint64_t bytes = std::min(bytes_ - done_, kPiece);
      MILLRACE_RETURN_IF_ERROR(
          file_.CoReadBytes(offset_ + done_, absl::MakeSpan(buffer_).first(bytes)));
    }
    const uint64_t entry = LoadBig<uint64_t>(&buffer_[done_ % kPiece]);
    done_ += 8;
    return entry;
  }

 private:
  static constexpr uint64_t kPiece = 65536;
  ImageFile& file_;
  const uint64_t offset_;
  const uint64_t bytes_;
  uint64_t done_ = 0;
  std::vector<uint8_t> buffer_;
};

}  // namespace

bool Checker::EndsInFile(uint64_t offset, uint64_t bytes) const {
  return offset < kHostOffsetEnd &&
         (offset + bytes - 1) >> geometry_.cluster_bits < file_clusters();
}

void Checker::CountRange(uint64_t offset, uint64_t bytes, std::string_view what, uint32_t times) {
  if (bytes == 0) return;
  if (!EndsInFile(offset, bytes)) {
    Corruption(StrCat("the ", what, " at ", offset, " with ", bytes,
                      " bytes ends beyond the end of the file at ", file_.bytes()),
               times);
    return;
  }
  const uint64_t last = (offset + bytes - 1) >> geometry_.cluster_bits;
  for (uint64_t cluster = offset >> geometry_.cluster_bits; cluster <= last; ++cluster) {
    uses_.Add(cluster, times);
  }
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
  l2_tables_.clear();
  l2_numbers_.clear();
  next_host_ = 0;
  CountTable(0, geometry_.cluster_bytes(), "header");
  result_.total_clusters = geometry_.ClustersFor(header_.bytes);
  MILLRACE_RETURN_IF_ERROR(CoCountL1(header_.l1_offset, header_.l1_entries, true));
  MILLRACE_RETURN_IF_ERROR(CoCountSnapshots());
  for (const L2Uses& table : l2_tables_) MILLRACE_RETURN_IF_ERROR(CoCountL2(table));
  return CoCountBitmaps();
}

absl::Status Checker::SpendTable(uint64_t bytes) {
  if (bytes > table_bytes_left_) {
    return absl::DataLossError(
        StrCat("check image '", file_.name(), "': its tables refer to each other without end"));
  }
  table_bytes_left_ -= bytes;
  return absl::OkStatus();
}

absl::Status Checker::CoCountL1(uint64_t offset, uint64_t entries, bool is_active) {
  MILLRACE_RETURN_IF_ERROR(SpendTable(entries * 8));
  CountTable(offset, entries * 8, is_active ? "L1 table" : "L1 table of a snapshot");
  TableReader reader(file_, offset, entries);
  for (uint64_t index = 0; !reader.is_at_end(); ++index) {
    MILLRACE_RETURN_IF_ERROR(StopIfCancelled());
    MILLRACE_ASSIGN_OR_RETURN(const uint64_t raw, reader.CoNext());
    const absl::StatusOr<L1Entry> entry = DecodeL1Entry(raw, geometry_);
    if (!entry.ok()) {
      Corruption(StrCat("L1 index ", index, ": ", FromAbsl(entry.status().message())));
    } else if (entry->l2_table.value() != 0) {
      NoteL2(index, entry->l2_table, is_active);
    }
  }
  return absl::OkStatus();
}

void Checker::NoteL2(uint64_t l1_index, HostOffset place, bool is_active) {
  CountRange(place.value(), geometry_.cluster_bytes(), "L2 table");
  if (place.value() >= file_.bytes()) return;
  const auto [number, is_new] = l2_numbers_.try_emplace(place.value(), l2_tables_.size());
  if (is_new) l2_tables_.push_back({.place = place, .l1_index = l1_index});
  L2Uses& table = l2_tables_[number->second];
  ++table.all;
  if (is_active) ++table.active;
}

absl::Status Checker::CoCountL2(const L2Uses& table) {
  MILLRACE_RETURN_IF_ERROR(StopIfCancelled());
  std::vector<uint8_t> entries(geometry_.cluster_bytes());
  MILLRACE_RETURN_IF_ERROR(file_.CoReadBytes(table.place.value(), absl::MakeSpan(entries)));
  for (uint64_t index = 0; index < geometry_.l2_entries(); ++index) {
    const RawL2Entry raw = LoadL2Entry(&entries[index << geometry_.l2_entry_bits()], geometry_);
    if (raw.descriptor == 0 && raw.bitmap == 0) continue;
    const uint64_t guest =
        (table.l1_index << geometry_.l2_table_bits()) + (index << geometry_.cluster_bits);
    const absl::StatusOr<L2Entry> entry = DecodeL2Entry(raw, geometry_);
    if (!entry.ok()) {
      Corruption(StrCat("guest offset ", guest, ": ", FromAbsl(entry.status().message())),
                 table.all);
    } else {
      CountL2Entry(guest, *entry, table);
    }
  }
  return absl::OkStatus();
}

void Checker::CountL2Entry(uint64_t guest, const L2Entry& entry, const L2Uses& table) {
  if (entry.is_compressed) {
    const uint64_t offset = entry.compressed.offset.value();
    // The length is in sectors; the last one may be cut off by the end of the file.
    const uint64_t file_end = AlignUp(file_.bytes(), geometry_.cluster_bytes());
    const uint64_t bytes = offset < file_end ? std::min(entry.compressed.bytes, file_end - offset)
                                             : entry.compressed.bytes;
    CountRange(offset, bytes, "compressed data", table.all);
    result_.allocated_clusters += table.active;
    result_.compressed_clusters += table.active;
    result_.fragmented_clusters += table.active;
    return;
  }
  if (!entry.has_host()) return;
  const uint64_t host = entry.host.value();
  const bool is_there = EndsInFile(host, geometry_.cluster_bytes());
  CountRange(host, geometry_.cluster_bytes(),
             is_there ? std::string() : StrCat("data of guest offset ", guest), table.all);
  if (table.active == 0) return;
  result_.allocated_clusters += table.active;
  if (next_host_ != 0 && host != next_host_) result_.fragmented_clusters += table.active;
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
  for (const BitmapEntry& entry : *entries) MILLRACE_RETURN_IF_ERROR(CoCountBitmap(entry));
  return absl::OkStatus();
}

absl::Status Checker::CoCountBitmap(const BitmapEntry& bitmap) {
  const uint64_t bytes = uint64_t{bitmap.table_entries} * 8;
  if (!geometry_.IsClusterAligned(bitmap.table_offset) || bitmap.table_offset >= file_.bytes() ||
      bytes > file_.bytes() - bitmap.table_offset) {
    Corruption(StrCat("bitmap '", bitmap.name, "': its table at ", bitmap.table_offset, " with ",
                      bitmap.table_entries, " entries does not lie in the file"));
    return absl::OkStatus();
  }
  MILLRACE_RETURN_IF_ERROR(SpendTable(bytes));
  CountRange(bitmap.table_offset, bytes, "bitmap table");
  TableReader reader(file_, bitmap.table_offset, bitmap.table_entries);
  while (!reader.is_at_end()) {
    MILLRACE_RETURN_IF_ERROR(StopIfCancelled());
    MILLRACE_ASSIGN_OR_RETURN(const uint64_t raw, reader.CoNext());
    const absl::StatusOr<uint64_t> data = DecodeBitmapTableEntry(raw, geometry_);
    if (!data.ok()) {
      Corruption(StrCat("bitmap '", bitmap.name, "': ", FromAbsl(data.status().message())));
    } else if (*data != 0) {
      CountRange(*data, geometry_.cluster_bytes(), "bitmap data");
    }
  }
  return absl::OkStatus();
}

}  // namespace millrace::qcow2
