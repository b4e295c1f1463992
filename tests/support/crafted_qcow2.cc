#include "tests/support/crafted_qcow2.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/check.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/l2_entry.h"
#include "tests/support/qcow2_images.h"

namespace millrace {
namespace {

using qcow2::Header;
using qcow2::LoadBig;
using qcow2::StoreBig;

constexpr uint32_t kGranularityBits = 12;

template <typename Value>
void PutBig(std::vector<uint8_t>& bytes, Value value) {
  bytes.resize(bytes.size() + sizeof(Value));
  StoreBig<Value>(&bytes[bytes.size() - sizeof(Value)], value);
}

void PutText(std::vector<uint8_t>& bytes, std::string_view text) {
  bytes.insert(bytes.end(), text.begin(), text.end());
}

Header HeaderOf(const std::vector<uint8_t>& bytes) {
  const uint64_t cluster = uint64_t{1} << LoadBig<uint32_t>(&bytes[20]);
  absl::StatusOr<Header> header =
      qcow2::ParseHeader(absl::MakeConstSpan(bytes).first(std::min(bytes.size(), cluster)));
  MILLRACE_CHECK(header.ok(), "a crafted image has a broken header");
  return *std::move(header);
}

std::vector<uint8_t> Deflate(absl::Span<const uint8_t> content) {
  z_stream stream = {};
  MILLRACE_CHECK(
      deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) == Z_OK,
      "zlib does not start");
  std::vector<uint8_t> packed(deflateBound(&stream, content.size()));
  stream.next_in = const_cast<Bytef*>(content.data());
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = packed.data();
  stream.avail_out = static_cast<uInt>(packed.size());
  MILLRACE_CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END, "zlib does not end");
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

std::vector<uint8_t> CompressZstd(absl::Span<const uint8_t> content) {
  std::vector<uint8_t> packed(ZSTD_compressBound(content.size()));
  const size_t bytes =
      ZSTD_compress(packed.data(), packed.size(), content.data(), content.size(), 3);
  MILLRACE_CHECK(ZSTD_isError(bytes) == 0, "zstd does not compress");
  packed.resize(bytes);
  return packed;
}

}  // namespace

Header CraftedQcow2::header() const { return HeaderOf(disk_.live()); }

uint64_t CraftedQcow2::Append(std::vector<uint8_t> content) {
  std::vector<uint8_t>& file = disk_.live();
  const uint64_t cluster = header().geometry.cluster_bytes();
  const uint64_t offset = AlignUp(file.size(), cluster);
  content.resize(AlignUp(std::max<uint64_t>(content.size(), 1), cluster));
  file.resize(offset);
  file.insert(file.end(), content.begin(), content.end());
  return offset;
}

void CraftedQcow2::AddSnapshot(std::string_view name) {
  const Header before = header();
  const auto l1 = disk_.live().begin() + static_cast<ptrdiff_t>(before.l1_offset);
  std::vector<uint8_t> table(l1, l1 + ptrdiff_t{8} * before.l1_entries);
  for (uint64_t i = 0; i < table.size(); i += 8) table[i] &= 0x7f;  // shared: not "copied"
  const uint64_t table_offset = Append(table);
  std::vector<uint8_t> entry;
  PutBig<uint64_t>(entry, table_offset);
  PutBig<uint32_t>(entry, before.l1_entries);
  PutBig<uint16_t>(entry, 1);
  PutBig<uint16_t>(entry, static_cast<uint16_t>(name.size()));
  entry.resize(36);  // dates and clocks: zero
  PutBig<uint32_t>(entry, 16);
  PutBig<uint64_t>(entry, 0);  // no machine state
  PutBig<uint64_t>(entry, before.bytes);
  PutText(entry, "1");
  PutText(entry, name);
  const uint64_t entry_offset = Append(entry);
  StoreBig<uint32_t>(&disk_.live()[60], 1);
  StoreBig<uint64_t>(&disk_.live()[64], entry_offset);
}

void CraftedQcow2::AddBitmaps() {
  std::vector<uint8_t> directory;
  for (const std::string_view name : {"recording", "kept"}) {
    const uint64_t bits = Append({0x01});
    std::vector<uint8_t> table;
    PutBig<uint64_t>(table, bits);
    const uint64_t table_offset = Append(table);
    PutBig<uint64_t>(directory, table_offset);
    PutBig<uint32_t>(directory, 1);
    PutBig<uint32_t>(directory, name == "recording" ? qcow2::kBitmapRecording : 0);
    directory.push_back(1);  // a dirty bitmap
    directory.push_back(kGranularityBits);
    PutBig<uint16_t>(directory, static_cast<uint16_t>(name.size()));
    PutBig<uint32_t>(directory, 0);
    PutText(directory, name);
    directory.resize(AlignUp(directory.size(), 8));
  }
  std::vector<uint8_t> extension;
  PutBig<uint32_t>(extension, 2);
  PutBig<uint32_t>(extension, 0);
  PutBig<uint64_t>(extension, directory.size());
  PutBig<uint64_t>(extension, Append(directory));
  Header changed = header();
  changed.extensions.push_back({qcow2::kExtensionBitmaps, extension});
  changed.autoclear_features |= qcow2::kAutoclearBitmaps;
  const absl::StatusOr<qcow2::SerialisedHeader> start = qcow2::SerialiseHeader(changed, {});
  MILLRACE_CHECK(start.ok(), "the header has no room for bitmaps");
  std::copy(start->start.begin(), start->start.end(), disk_.live().begin());
  const std::string& name = changed.backing.filename;  // which had to move
  std::copy(name.begin(), name.end(),
            disk_.live().begin() + static_cast<ptrdiff_t>(changed.backing_name_offset));
}

void CraftedQcow2::Compress(uint64_t guest_cluster, absl::Span<const uint8_t> content) {
  const std::vector<uint8_t> packed = Pack(content);
  const uint64_t place = Append(packed);
  packed_end_ = place + packed.size();
  PointAtPacked(guest_cluster, place, packed.size());
}

void CraftedQcow2::CompressBehindLast(uint64_t guest_cluster, absl::Span<const uint8_t> content) {
  const std::vector<uint8_t> packed = Pack(content);
  const uint64_t place = packed_end_;
  if (place + packed.size() > AlignUp(place, header().geometry.cluster_bytes())) {
    Compress(guest_cluster, content);
    return;
  }
  std::copy(packed.begin(), packed.end(), disk_.live().begin() + static_cast<ptrdiff_t>(place));
  packed_end_ = place + packed.size();
  PointAtPacked(guest_cluster, place, packed.size());
}

std::vector<uint8_t> CraftedQcow2::Pack(absl::Span<const uint8_t> content) const {
  const Header current = header();
  std::vector<uint8_t> packed =
      current.compression_type == 1 ? CompressZstd(content) : Deflate(content);
  MILLRACE_CHECK(packed.size() < current.geometry.cluster_bytes(),
                 "this content does not compress");
  return packed;
}

void CraftedQcow2::PointAtPacked(uint64_t guest_cluster, uint64_t place, uint64_t bytes) {
  const Header current = header();
  const qcow2::Geometry& geometry = current.geometry;
  qcow2::L2Entry entry;
  entry.is_compressed = true;
  entry.compressed = {HostOffset(place), AlignUp(place + bytes, 512) - place};
  const uint64_t guest = guest_cluster << geometry.cluster_bits;
  const uint64_t l1 = current.l1_offset + 8 * geometry.L1IndexOf(guest);
  const uint64_t l2 = LoadBig<uint64_t>(&disk_.live()[l1]) & qcow2::kEntryOffsetMask;
  MILLRACE_CHECK(l2 != 0, "only an allocated cluster can be replaced");
  const uint64_t entry_place = l2 + (geometry.L2IndexOf(guest) << geometry.l2_entry_bits());
  qcow2::StoreL2Entry(&disk_.live()[entry_place], qcow2::EncodeL2Entry(entry, geometry), geometry);
}

CrashDisk CraftedQcow2::Finish() {
  const absl::StatusOr<Qcow2CheckResult> repaired = CheckImage(disk_, Qcow2Repair::kAll);
  MILLRACE_CHECK(repaired.ok() && repaired->is_clean_now(), "a crafted image is beyond repair");
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk_);
  MILLRACE_CHECK(check.ok() && check->is_clean(), "a crafted image is not clean");
  return CrashDisk(disk_.live());
}

CrashDisk SnapshotView(const CrashDisk& disk) {
  std::vector<uint8_t> bytes = disk.live();
  const uint64_t entry = LoadBig<uint64_t>(&bytes[64]);
  StoreBig<uint64_t>(&bytes[24], LoadBig<uint64_t>(&bytes[entry + 48]));  // the disk's size
  StoreBig<uint32_t>(&bytes[36], LoadBig<uint32_t>(&bytes[entry + 8]));
  StoreBig<uint64_t>(&bytes[40], LoadBig<uint64_t>(&bytes[entry]));
  StoreBig<uint32_t>(&bytes[60], 0);
  return CrashDisk(std::move(bytes));
}

std::vector<CraftedBitmap> BitmapsOf(const CrashDisk& disk) {
  const std::vector<uint8_t>& file = disk.live();
  const Header header = HeaderOf(file);
  std::vector<CraftedBitmap> bitmaps;
  if ((header.autoclear_features & qcow2::kAutoclearBitmaps) == 0) return bitmaps;
  const auto where =
      qcow2::FindBitmaps(header.extensions, header.geometry.cluster_bytes(), file.size());
  MILLRACE_CHECK(where.ok() && where->has_value(), "the bitmaps are gone");
  const auto entries = qcow2::ParseBitmapDirectory(
      absl::MakeConstSpan(file).subspan((*where)->directory_offset, (*where)->directory_bytes),
      (*where)->bitmap_count);
  MILLRACE_CHECK(entries.ok(), "the bitmap directory is broken");
  for (const qcow2::BitmapEntry& entry : *entries) {
    CraftedBitmap bitmap{entry, {}};
    for (uint32_t i = 0; i < entry.table_entries; ++i) {
      const uint64_t bits = LoadBig<uint64_t>(&file[entry.table_offset + 8 * i]);
      if ((bits & qcow2::kEntryOffsetMask) == 0) continue;
      const auto begin = file.begin() + static_cast<ptrdiff_t>(bits & qcow2::kEntryOffsetMask);
      bitmap.bits.insert(bitmap.bits.end(), begin,
                         begin + static_cast<ptrdiff_t>(header.geometry.cluster_bytes()));
    }
    bitmaps.push_back(std::move(bitmap));
  }
  return bitmaps;
}

}  // namespace millrace
