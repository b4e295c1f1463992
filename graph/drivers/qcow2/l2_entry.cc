#include "millrace/graph/drivers/qcow2/l2_entry.h"

#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"

namespace millrace::qcow2 {
namespace {

constexpr uint64_t kEntryCompressed = uint64_t{1} << 62;
constexpr uint64_t kEntryZero = 1;
constexpr uint64_t kL1Reserved = 0x7f000000000001ffu;
constexpr uint64_t kL2Reserved = 0x3f000000000001feu;

std::string HexText(uint64_t value) { return StrCat("0x", absl::Hex(value)); }

absl::Status BrokenEntry(std::string_view what, uint64_t raw, std::string_view why) {
  return absl::DataLossError(StrCat(what, " entry ", HexText(raw), " ", why));
}

// Number of bits for the host offset in the descriptor of a compressed cluster; the rest, up to bit
// 61, counts further sectors.
uint32_t CompressedOffsetBits(const Geometry& geometry) { return 62 - (geometry.cluster_bits - 8); }

absl::StatusOr<L2Entry> DecodeCompressed(const RawL2Entry& raw, const Geometry& geometry) {
  L2Entry entry;
  const uint32_t bits = CompressedOffsetBits(geometry);
  const uint64_t offset = raw.descriptor & ((uint64_t{1} << bits) - 1);
  const uint64_t sectors = (raw.descriptor & ~(kEntryCopied | kEntryCompressed)) >> bits;
  if ((raw.descriptor & kEntryCopied) != 0) {
    return BrokenEntry("compressed L2", raw.descriptor, "has the 'copied' flag");
  }
  if (raw.bitmap != 0)
    return BrokenEntry("compressed L2", raw.descriptor, "has a subcluster bitmap");
  if (offset == 0 || offset >= kHostOffsetEnd) {
    return BrokenEntry("compressed L2", raw.descriptor, "points outside any file");
  }
  entry.is_compressed = true;
  entry.compressed = {HostOffset(offset), (sectors + 1) * 512 - (offset & 511)};
  return entry;
}

absl::StatusOr<L2Entry> DecodeSubclusters(const RawL2Entry& raw, L2Entry entry) {
  entry.allocated = static_cast<uint32_t>(raw.bitmap);
  entry.zero = static_cast<uint32_t>(raw.bitmap >> 32);
  if ((raw.descriptor & kEntryZero) != 0) {
    return BrokenEntry("extended L2", raw.descriptor, "has the reserved bit 0 set");
  }
  if ((entry.allocated & entry.zero) != 0) {
    return BrokenEntry("extended L2", raw.bitmap, "has subclusters both allocated and zero");
  }
  if (entry.allocated != 0 && !entry.has_host()) {
    return BrokenEntry("extended L2", raw.bitmap, "has allocated subclusters, but no host cluster");
  }
  return entry;
}

}  // namespace

absl::StatusOr<L1Entry> DecodeL1Entry(uint64_t raw, const Geometry& geometry) {
  if ((raw & kL1Reserved) != 0) return BrokenEntry("L1", raw, "has reserved bits set");
  const HostOffset table(raw & kEntryOffsetMask);
  if (!geometry.IsClusterAligned(table.value())) {
    return BrokenEntry("L1", raw, "points to an L2 table that is not aligned to clusters");
  }
  return L1Entry{table, (raw & kEntryCopied) != 0};
}

absl::StatusOr<L2Entry> DecodeL2Entry(const RawL2Entry& raw, const Geometry& geometry) {
  if ((raw.descriptor & kEntryCompressed) != 0) return DecodeCompressed(raw, geometry);
  if ((raw.descriptor & kL2Reserved) != 0) {
    return BrokenEntry("L2", raw.descriptor, "has reserved bits set");
  }
  L2Entry entry;
  entry.is_copied = (raw.descriptor & kEntryCopied) != 0;
  entry.host = HostOffset(raw.descriptor & kEntryOffsetMask);
  if (!geometry.IsClusterAligned(entry.host.value())) {
    return BrokenEntry("L2", raw.descriptor, "points to data that is not aligned to clusters");
  }
  if (geometry.extended_l2) return DecodeSubclusters(raw, entry);
  if ((raw.descriptor & kEntryZero) != 0) {
    if (geometry.version == 2) {
      return BrokenEntry("L2", raw.descriptor, "has the zero flag, which version 2 does not know");
    }
    entry.zero = 1;
  } else if (entry.has_host()) {
    entry.allocated = 1;
  }
  return entry;
}

Qcow2Corruption KindOfBrokenL1(uint64_t raw, uint64_t index, const Geometry& geometry) {
  const uint64_t table = raw & kEntryOffsetMask;
  if (geometry.IsClusterAligned(table)) return {};
  return {.kind = Qcow2Corruption::Kind::kL2Table, .host = table, .index = index};
}

Qcow2Corruption KindOfBroken(const RawL2Entry& raw, const Geometry& geometry) {
  using Kind = Qcow2Corruption::Kind;
  const bool is_compressed = (raw.descriptor & kEntryCompressed) != 0;
  const uint64_t host = raw.descriptor & kEntryOffsetMask;
  const bool is_zero = (raw.descriptor & kEntryZero) != 0;
  if (!is_compressed && !geometry.extended_l2 && geometry.version == 2 && is_zero) {
    return {.kind = Kind::kZeroFlag};
  }
  if (!is_compressed && !geometry.IsClusterAligned(host)) {
    return {.kind = Kind::kData, .host = host, .is_zero = !geometry.extended_l2 && is_zero};
  }
  return {.kind = geometry.extended_l2 ? Kind::kEntry : Kind::kOther};
}

RawL2Entry EncodeL2Entry(const L2Entry& entry, const Geometry& geometry) {
  RawL2Entry raw;
  if (entry.is_compressed) {
    const uint64_t offset = entry.compressed.offset.value();
    const uint64_t sectors = (entry.compressed.bytes + (offset & 511)) / 512 - 1;
    raw.descriptor = kEntryCompressed | offset | sectors << CompressedOffsetBits(geometry);
    return raw;
  }
  raw.descriptor = entry.host.value();
  if (entry.is_copied && entry.has_host()) raw.descriptor |= kEntryCopied;
  if (geometry.extended_l2) {
    raw.bitmap = uint64_t{entry.zero} << 32 | entry.allocated;
  } else if (entry.zero != 0) {
    raw.descriptor |= kEntryZero;
  }
  return raw;
}

RawL2Entry LoadL2Entry(const uint8_t* source, const Geometry& geometry) {
  return {LoadBig<uint64_t>(source), geometry.extended_l2 ? LoadBig<uint64_t>(source + 8) : 0};
}

void StoreL2Entry(uint8_t* target, const RawL2Entry& raw, const Geometry& geometry) {
  StoreBig<uint64_t>(target, raw.descriptor);
  if (geometry.extended_l2) StoreBig<uint64_t>(target + 8, raw.bitmap);
}

}  // namespace millrace::qcow2
