#include "millrace/graph/drivers/qcow2/bitmap_directory.h"

#include <utility>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"

namespace millrace::qcow2 {
namespace {

constexpr uint64_t kFixedEntryBytes = 24;
constexpr uint64_t kFlagsOffset = 12;
constexpr uint8_t kGranularityBitsMin = 9;
constexpr uint8_t kGranularityBitsMax = 31;
constexpr uint32_t kBitmapNameBytesMax = 1023;
constexpr uint64_t kTableEntryReserved = 0xff000000000001feu;

}  // namespace

absl::StatusOr<std::vector<BitmapEntry>> ParseBitmapDirectory(absl::Span<const uint8_t> directory,
                                                              uint32_t bitmap_count) {
  std::vector<BitmapEntry> entries;
  uint64_t position = 0;
  while (position < directory.size()) {
    const uint8_t* field = directory.data() + position;
    if (directory.size() - position < kFixedEntryBytes) {
      return absl::InvalidArgumentError(
          StrCat("the bitmap directory of ", directory.size(), " bytes ends inside bitmap ",
                 entries.size(), ", ", directory.size() - position, " bytes after its start (",
                 kFixedEntryBytes, " at least)"));
    }
    BitmapEntry entry;
    entry.table_offset = LoadBig<uint64_t>(field);
    entry.table_entries = LoadBig<uint32_t>(field + 8);
    entry.flags = LoadBig<uint32_t>(field + kFlagsOffset);
    entry.granularity_bits = field[17];
    entry.directory_position = position;
    const uint32_t name_bytes = LoadBig<uint16_t>(field + 18);
    const uint64_t extra_bytes = LoadBig<uint32_t>(field + 20);
    if (extra_bytes + name_bytes > directory.size() - position - kFixedEntryBytes) {
      return absl::InvalidArgumentError(StrCat(
          "bitmap ", entries.size(), " claims ", extra_bytes, " bytes of extra data and a name of ",
          name_bytes, " bytes; ", directory.size() - position - kFixedEntryBytes,
          " are left in the bitmap directory"));
    }
    if (entry.granularity_bits < kGranularityBitsMin ||
        entry.granularity_bits > kGranularityBitsMax || name_bytes == 0 ||
        name_bytes > kBitmapNameBytesMax) {
      return absl::InvalidArgumentError(
          StrCat("bitmap ", entries.size(), " has granularity bits ", int{entry.granularity_bits},
                 " and a name of ", name_bytes, " bytes (9 to 31 and 1 to 1023 are possible)"));
    }
    entry.name.assign(reinterpret_cast<const char*>(field) + kFixedEntryBytes + extra_bytes,
                      name_bytes);
    entries.push_back(std::move(entry));
    position += AlignUp(kFixedEntryBytes + extra_bytes + name_bytes, 8);
  }
  if (entries.size() != bitmap_count) {
    return absl::InvalidArgumentError(StrCat("the bitmap directory has ", entries.size(),
                                             " entries, the header says ", bitmap_count));
  }
  return entries;
}

absl::StatusOr<std::vector<uint8_t>> CoReadBitmapDirectory(ImageFile& file,
                                                           const BitmapsExtension& where) {
  std::vector<uint8_t> directory(where.directory_bytes);
  MILLRACE_RETURN_IF_ERROR(file.CoReadBytes(where.directory_offset, absl::MakeSpan(directory)));
  return directory;
}

absl::StatusOr<uint64_t> DecodeBitmapTableEntry(uint64_t raw, const Geometry& geometry) {
  const uint64_t offset = raw & kEntryOffsetMask;
  if ((raw & kTableEntryReserved) != 0 || !geometry.IsClusterAligned(offset) ||
      (offset != 0 && (raw & 1) != 0)) {
    return absl::DataLossError(StrCat("bitmap table entry 0x", absl::Hex(raw), " is malformed"));
  }
  return offset;
}

bool MarkBitmapsInUse(absl::Span<uint8_t> directory, absl::Span<const BitmapEntry> entries,
                      bool all) {
  bool has_changed = false;
  for (const BitmapEntry& entry : entries) {
    if ((entry.flags & kBitmapInUse) != 0) continue;
    if (!all && (entry.flags & kBitmapRecording) == 0) continue;
    StoreBig<uint32_t>(&directory[entry.directory_position + kFlagsOffset],
                       entry.flags | kBitmapInUse);
    has_changed = true;
  }
  return has_changed;
}

}  // namespace millrace::qcow2
