#include "millrace/graph/drivers/qcow2/snapshot_table.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"

namespace millrace::qcow2 {
namespace {

constexpr uint64_t kFixedBytes = 40;
constexpr uint32_t kExtraBytesVersion3 = 16;

// The fixed part of an entry says how long the rest is.
struct EntryLengths {
  uint32_t id = 0;
  uint32_t name = 0;
  uint32_t extra = 0;
  uint64_t rest() const { return uint64_t{extra} + id + name; }
};

absl::StatusOr<EntryLengths> ParseLengths(const uint8_t* fixed, uint32_t index, uint32_t version) {
  EntryLengths lengths;
  lengths.id = LoadBig<uint16_t>(fixed + 12);
  lengths.name = LoadBig<uint16_t>(fixed + 14);
  lengths.extra = LoadBig<uint32_t>(fixed + 36);
  if (lengths.extra > kSnapshotExtraBytesMax) {
    return absl::InvalidArgumentError(StrCat("snapshot ", index, " has ", lengths.extra,
                                             " bytes of extra data (limit ", kSnapshotExtraBytesMax,
                                             ")"));
  }
  if (version >= 3 && lengths.extra < kExtraBytesVersion3) {
    return absl::InvalidArgumentError(StrCat("snapshot ", index, " has ", lengths.extra,
                                             " bytes of extra data; version 3 needs ",
                                             kExtraBytesVersion3));
  }
  return lengths;
}

Snapshot ParseEntry(const uint8_t* fixed, const uint8_t* rest, const EntryLengths& lengths,
                    const Header& header) {
  Snapshot snapshot;
  snapshot.l1_offset = LoadBig<uint64_t>(fixed);
  snapshot.l1_entries = LoadBig<uint32_t>(fixed + 8);
  snapshot.date_seconds = LoadBig<uint32_t>(fixed + 16);
  snapshot.date_nanoseconds = LoadBig<uint32_t>(fixed + 20);
  snapshot.vm_clock_nanoseconds = LoadBig<uint64_t>(fixed + 24);
  snapshot.vm_state_bytes = LoadBig<uint32_t>(fixed + 32);
  snapshot.disk_bytes = header.bytes;
  if (lengths.extra >= 8) snapshot.vm_state_bytes = LoadBig<uint64_t>(rest);
  if (lengths.extra >= 16) snapshot.disk_bytes = LoadBig<uint64_t>(rest + 8);
  const char* text = reinterpret_cast<const char*>(rest) + lengths.extra;
  snapshot.id.assign(text, lengths.id);
  snapshot.name.assign(text + lengths.id, lengths.name);
  return snapshot;
}

}  // namespace

bool Snapshot::has_usable_l1(const Geometry& geometry, uint64_t file_bytes) const {
  const uint64_t bytes = uint64_t{l1_entries} * 8;
  if (l1_entries == 0) return true;
  return bytes <= kL1BytesMax && l1_offset != 0 && geometry.IsClusterAligned(l1_offset) &&
         l1_offset <= file_bytes && bytes <= file_bytes - l1_offset;
}

absl::StatusOr<SnapshotTable> CoReadSnapshotTable(ImageFile& file, const Header& header) {
  SnapshotTable table;
  uint64_t position = header.snapshots_offset;
  for (uint32_t index = 0; index < header.snapshot_count; ++index) {
    position = AlignUp(position, 8);
    uint8_t fixed[kFixedBytes];
    if (position + kFixedBytes > file.bytes()) {
      return absl::InvalidArgumentError(StrCat("snapshot ", index, " of ", header.snapshot_count,
                                               " lies beyond the end of the file at ",
                                               file.bytes()));
    }
    MILLRACE_RETURN_IF_ERROR(file.CoReadBytes(position, absl::MakeSpan(fixed)));
    MILLRACE_ASSIGN_OR_RETURN(const EntryLengths lengths,
                              ParseLengths(fixed, index, header.geometry.version));
    position += kFixedBytes;
    if (position + lengths.rest() > file.bytes()) {
      return absl::InvalidArgumentError(
          StrCat("snapshot ", index, " ends beyond the end of the file at ", file.bytes()));
    }
    std::vector<uint8_t> rest(std::max<uint64_t>(lengths.rest(), 1));
    MILLRACE_RETURN_IF_ERROR(
        file.CoReadBytes(position, absl::MakeSpan(rest).first(lengths.rest())));
    table.snapshots.push_back(ParseEntry(fixed, rest.data(), lengths, header));
    position += lengths.rest();
    table.bytes = AlignUp(position, 8) - header.snapshots_offset;
    if (table.bytes > kSnapshotTableBytesMax) {
      return absl::InvalidArgumentError(
          StrCat("the snapshot table is longer than ", kSnapshotTableBytesMax, " bytes"));
    }
  }
  return table;
}

}  // namespace millrace::qcow2
