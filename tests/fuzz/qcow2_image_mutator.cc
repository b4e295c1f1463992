#include "tests/fuzz/qcow2_image_mutator.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "millrace/engine/base/byte_range.h"

namespace millrace {
namespace {

constexpr uint64_t kOffsetMask = 0x00fffffffffffe00u;
constexpr uint64_t kCopied = uint64_t{1} << 63;
constexpr uint64_t kCompressed = uint64_t{1} << 62;
constexpr uint64_t kHeaderMagic = 0x514649fb;

enum class Kind : uint8_t { kOffset, kCount, kBits, kFeatures, kSize, kByte };

struct Field {
  uint64_t offset;
  uint8_t width;
  Kind kind;
};

constexpr Field kHeaderFields[] = {
    {4, 4, Kind::kBits},       // version
    {8, 8, Kind::kOffset},     // backing file name
    {16, 4, Kind::kCount},     // its length
    {20, 4, Kind::kBits},      // cluster bits
    {24, 8, Kind::kSize},      // virtual size
    {32, 4, Kind::kBits},      // encryption method
    {36, 4, Kind::kCount},     // L1 entries
    {40, 8, Kind::kOffset},    // L1 table
    {48, 8, Kind::kOffset},    // refcount table
    {56, 4, Kind::kCount},     // its clusters
    {60, 4, Kind::kCount},     // snapshots
    {64, 8, Kind::kOffset},    // snapshot table
    {72, 8, Kind::kFeatures},  // incompatible
    {80, 8, Kind::kFeatures},  // compatible
    {88, 8, Kind::kFeatures},  // autoclear
    {96, 4, Kind::kBits},      // refcount order
    {100, 4, Kind::kCount},    // header length
    {104, 1, Kind::kByte},     // compression type
};
constexpr Field kSnapshotFields[] = {
    {0, 8, Kind::kOffset}, {8, 4, Kind::kCount},  {12, 2, Kind::kCount}, {14, 2, Kind::kCount},
    {32, 4, Kind::kCount}, {36, 4, Kind::kCount}, {40, 8, Kind::kSize},  {48, 8, Kind::kSize},
};
constexpr Field kBitmapFields[] = {
    {0, 8, Kind::kOffset}, {8, 4, Kind::kCount},  {12, 4, Kind::kFeatures}, {16, 1, Kind::kByte},
    {17, 1, Kind::kBits},  {18, 2, Kind::kCount}, {20, 4, Kind::kCount},
};
constexpr Field kBitmapsExtensionFields[] = {
    {0, 4, Kind::kCount}, {4, 4, Kind::kByte}, {8, 8, Kind::kCount}, {16, 8, Kind::kOffset}};
constexpr uint32_t kExtensionTypes[] = {0,          0xe2792aca, 0x6803f857, 0x23852875,
                                        0x0537be77, 0x44415441, 0x12345678};
constexpr uint32_t kExtensionBitmaps = 0x23852875;

// The image's bytes, and where things stand in it. Reads outside are zero, writes are lost.
class Image {
 public:
  explicit Image(absl::Span<uint8_t> bytes) : bytes_(bytes) {}

  uint64_t size() const { return bytes_.size(); }
  uint64_t Get(uint64_t offset, size_t width) const {
    if (offset > size() || width > size() - offset) return 0;
    uint64_t value = 0;
    for (size_t i = 0; i < width; ++i) value = value << 8 | bytes_[offset + i];
    return value;
  }
  bool Put(uint64_t offset, size_t width, uint64_t value) {
    if (offset > size() || width > size() - offset) return false;
    for (size_t i = width; i > 0; --i, value >>= 8) {
      bytes_[offset + i - 1] = static_cast<uint8_t>(value);
    }
    return true;
  }
  absl::Span<uint8_t> Part(uint64_t offset, uint64_t bytes) {
    if (offset > size()) return {};
    return bytes_.subspan(offset, std::min(bytes, size() - offset));
  }

  uint64_t cluster_bits() const { return std::clamp<uint64_t>(Get(20, 4), 9, 21); }
  uint64_t cluster() const { return uint64_t{1} << cluster_bits(); }
  uint64_t clusters() const { return (size() + cluster() - 1) / cluster(); }
  uint64_t l1() const { return Get(40, 8); }
  uint64_t l1_entries() const { return std::min<uint64_t>(Get(36, 4), size() / 8); }
  uint64_t refcount_table() const { return Get(48, 8); }
  uint64_t header_bytes() const { return Get(4, 4) < 3 ? 72 : Get(100, 4); }
  bool has_extended_l2() const { return (Get(72, 8) & 16) != 0 && Get(4, 4) >= 3; }
  uint64_t l2_entry_bytes() const { return has_extended_l2() ? 16 : 8; }

 private:
  absl::Span<uint8_t> bytes_;
};

// A place somebody could take for a table or a cluster: of this file most of the time.
uint64_t SomePlace(RandomStream& random, const Image& image) {
  const uint64_t cluster = image.cluster();
  const uint64_t places[] = {0,
                             image.l1(),
                             image.Get(image.l1(), 8) & kOffsetMask,
                             image.refcount_table(),
                             image.Get(image.refcount_table(), 8),
                             image.Get(64, 8),
                             image.clusters() * cluster,
                             (image.clusters() + random.Below(40)) * cluster,
                             (uint64_t{1} << (20 + random.Below(43))),
                             (kOffsetMask / cluster) * cluster};
  const uint64_t place = random.OneIn(2) ? random.Below(image.clusters() + 1) * cluster
                                         : places[random.Below(std::size(places))];
  return random.OneIn(8) ? place + 8 * random.Below(80) : place;
}

uint64_t SomeCount(RandomStream& random, uint64_t old) {
  constexpr uint64_t kLimits[] = {0,     1,     2,       8,       16,       72,         104,
                                  112,   255,   1023,    1024,    2048,     4096,       16384,
                                  65535, 65536, 1 << 20, 4194304, 67108864, 0x7fffffff, 0xffffffff};
  switch (random.Below(4)) {
    case 0:
      return old + 1 + random.Below(4);
    case 1:
      return old - 1 - random.Below(std::min<uint64_t>(old, 4) + 1);
    case 2:
      return old + (uint64_t{1} << random.Below(32));
    default:
      return kLimits[random.Below(std::size(kLimits))] + random.Below(2);
  }
}

uint64_t SomeSize(RandomStream& random, const Image& image, uint64_t old) {
  // As much as the L1 table reaches, and a little more or less.
  const uint64_t reach =
      image.l1_entries() * image.cluster() * (image.cluster() / image.l2_entry_bytes());
  switch (random.Below(5)) {
    case 0:
      return reach + 512 * random.Below(3) - 512;
    case 1:
      return old + 512 * random.Below(200);
    case 2:
      return old - std::min(old, random.Below(70000));
    case 3:
      return uint64_t{1} << random.Below(64);
    default:
      return ~uint64_t{0} >> random.Below(10);
  }
}

uint64_t NewValue(RandomStream& random, const Image& image, Kind kind, uint64_t old) {
  switch (kind) {
    case Kind::kOffset:
      return SomePlace(random, image);
    case Kind::kCount:
      return SomeCount(random, old);
    case Kind::kBits:
      return random.OneIn(4) ? old ^ (uint64_t{1} << random.Below(32)) : random.Below(24);
    case Kind::kFeatures:
      return old ^ (uint64_t{1} << (random.OneIn(4) ? random.Below(64) : random.Below(6)));
    case Kind::kSize:
      return SomeSize(random, image, old);
    case Kind::kByte:
      return random.OneIn(2) ? random.Below(4) : random.Below(256);
  }
  return old;
}

template <size_t kCount>
bool ChangeField(RandomStream& random, Image& image, uint64_t base, const Field (&fields)[kCount]) {
  const Field& field = fields[random.Below(kCount)];
  if (base + field.offset < base) return false;
  const uint64_t old = image.Get(base + field.offset, field.width);
  return image.Put(base + field.offset, field.width, NewValue(random, image, field.kind, old));
}

// A mapping entry: of an L1 or L2 table.
uint64_t NewEntry(RandomStream& random, const Image& image, uint64_t old) {
  switch (random.Below(8)) {
    case 0:
      return 0;
    case 1:
      return old ^ kCopied;
    case 2:
      return old ^ 1;  // reads as zeroes; reserved in an L1 entry
    case 3:
      return old | uint64_t{1} << random.Below(64);
    case 4:  // compressed: a place, and some sectors
      return kCompressed | random.Below(image.size() + 600) |
             random.Below(64) << (70 - image.cluster_bits());
    default:
      return SomePlace(random, image) | (random.OneIn(2) ? kCopied : 0) | (random.OneIn(6) ? 1 : 0);
  }
}

// An entry that is in use most of the time: others hardly matter.
uint64_t SomeEntry(RandomStream& random, const Image& image, uint64_t table, uint64_t entries,
                   uint64_t entry_bytes) {
  for (int tries = 0; tries < 8; ++tries) {
    const uint64_t place = table + entry_bytes * random.Below(std::max<uint64_t>(entries, 1));
    if (image.Get(place, 8) != 0 || tries == 7) return place;
  }
  return table;
}

bool ChangeL1(RandomStream& random, Image& image) {
  const uint64_t place = SomeEntry(random, image, image.l1(), image.l1_entries(), 8);
  uint64_t value = NewEntry(random, image, image.Get(place, 8));
  // Two entries with one table.
  if (random.OneIn(6)) value = image.Get(image.l1(), 8);
  return image.Put(place, 8, value);
}

bool ChangeL2(RandomStream& random, Image& image) {
  const uint64_t l1 = SomeEntry(random, image, image.l1(), image.l1_entries(), 8);
  const uint64_t table = image.Get(l1, 8) & kOffsetMask;
  if (table == 0) return false;
  const uint64_t bytes = image.l2_entry_bytes();
  const uint64_t place = SomeEntry(random, image, table, image.cluster() / bytes, bytes);
  if (bytes == 16 && random.OneIn(2)) {
    const uint64_t bits = image.Get(place + 8, 8);
    const uint64_t values[] = {0, ~uint64_t{0}, bits ^ uint64_t{1} << random.Below(64), bits << 32,
                               random.Next()};
    return image.Put(place + 8, 8, values[random.Below(std::size(values))]);
  }
  uint64_t value = NewEntry(random, image, image.Get(place, 8));
  // Two entries with one cluster.
  if (random.OneIn(6)) value = image.Get(SomeEntry(random, image, table, 64, bytes), 8);
  return image.Put(place, 8, value);
}

bool ChangeRefcountTable(RandomStream& random, Image& image) {
  const uint64_t entries = std::min<uint64_t>(image.Get(56, 4) * image.cluster(), image.size()) / 8;
  const uint64_t place = SomeEntry(random, image, image.refcount_table(), entries, 8);
  const uint64_t old = image.Get(place, 8);
  const uint64_t values[] = {0, old | 1 << 8, SomePlace(random, image), SomePlace(random, image),
                             image.Get(image.refcount_table(), 8)};
  return image.Put(place, 8, values[random.Below(std::size(values))]);
}

bool ChangeRefcount(RandomStream& random, Image& image) {
  const uint64_t block = image.Get(image.refcount_table(), 8) & kOffsetMask;
  if (block == 0) return false;
  // Bytes whatever the width: of the clusters that the file has, and a few more.
  const uint64_t order = std::min<uint64_t>(image.Get(4, 4) < 3 ? 4 : image.Get(96, 4), 6);
  const uint64_t used = ((image.clusters() + 8) << order) / 8 + 1;
  const uint64_t place = block + random.Below(std::min(used, image.cluster()));
  const uint64_t values[] = {0, 1, 2, 3, 0x7f, 0xff, random.Below(256)};
  return image.Put(place, 1, values[random.Below(std::size(values))]);
}

bool ChangeBitmap(RandomStream& random, Image& image, uint64_t extension) {
  if (random.OneIn(3)) return ChangeField(random, image, extension, kBitmapsExtensionFields);
  uint64_t entry = image.Get(extension + 16, 8);
  if (random.OneIn(2)) {  // the second one
    entry += AlignUp(24 + image.Get(entry + 18, 2) + image.Get(entry + 20, 4), 8);
  }
  if (random.OneIn(4)) {
    const uint64_t table = image.Get(entry, 8);
    return image.Put(table, 8, NewEntry(random, image, image.Get(table, 8)));
  }
  return ChangeField(random, image, entry, kBitmapFields);
}

// Where the extensions' records begin.
std::vector<uint64_t> Extensions(const Image& image) {
  std::vector<uint64_t> records;
  for (uint64_t at = image.header_bytes(); at + 8 <= std::min(image.size(), image.cluster());) {
    records.push_back(at);
    if (image.Get(at, 4) == 0 || records.size() == 16) break;
    at += 8 + AlignUp(image.Get(at + 4, 4), 8);
  }
  return records;
}

bool ChangeExtension(RandomStream& random, Image& image) {
  const std::vector<uint64_t> records = Extensions(image);
  if (records.empty()) return false;
  const uint64_t at = records[random.Below(records.size())];
  switch (random.Below(3)) {
    case 0:
      return image.Put(at, 4, kExtensionTypes[random.Below(std::size(kExtensionTypes))]);
    case 1:
      return image.Put(at + 4, 4, SomeCount(random, image.Get(at + 4, 4)));
    default:
      return image.Put(at + 8 + random.Below(48), 1, random.Below(256));
  }
}

bool ChangeBitmaps(RandomStream& random, Image& image) {
  for (const uint64_t at : Extensions(image)) {
    if (image.Get(at, 4) == kExtensionBitmaps) return ChangeBitmap(random, image, at + 8);
  }
  return false;
}

bool ChangeSnapshot(RandomStream& random, Image& image) {
  if (image.Get(60, 4) == 0) return false;
  uint64_t entry = image.Get(64, 8);
  if (random.OneIn(3)) {  // the second one
    entry += AlignUp(
        40 + image.Get(entry + 12, 2) + image.Get(entry + 14, 2) + image.Get(entry + 36, 4), 8);
  }
  if (random.OneIn(4)) {
    const uint64_t table = image.Get(entry, 8) & kOffsetMask;
    return image.Put(table, 8, NewEntry(random, image, image.Get(table, 8)));
  }
  return ChangeField(random, image, entry, kSnapshotFields);
}

bool ChangeData(RandomStream& random, Image& image) {
  const uint64_t l1 = SomeEntry(random, image, image.l1(), image.l1_entries(), 8);
  const uint64_t table = image.Get(l1, 8) & kOffsetMask;
  const uint64_t entry =
      image.Get(SomeEntry(random, image, table, image.cluster() / image.l2_entry_bytes(),
                          image.l2_entry_bytes()),
                8);
  const uint64_t place =
      (entry & kCompressed) != 0 ? entry & (image.cluster() * 4096 - 1) : entry & kOffsetMask;
  if (place == 0) return false;
  return image.Put(place + random.Below(64), 1, random.Below(256));
}

bool ChangeCluster(RandomStream& random, Image& image) {
  const uint64_t cluster = image.cluster();
  const absl::Span<uint8_t> target = image.Part(random.Below(image.clusters()) * cluster, cluster);
  if (random.OneIn(3)) {
    std::fill(target.begin(), target.end(), uint8_t{0});
    return !target.empty();
  }
  const absl::Span<uint8_t> source = image.Part(random.Below(image.clusters()) * cluster, cluster);
  if (source.data() == target.data()) return false;
  std::copy_n(source.begin(), std::min(source.size(), target.size()), target.begin());
  return !target.empty();
}

}  // namespace

size_t FindQcow2Image(absl::Span<const uint8_t> input) {
  constexpr size_t kPrefixBytesMax = 1100;  // of any target here: a count, and four bytes for each
  for (size_t at = 0; at + 4 <= input.size() && at < kPrefixBytesMax; ++at) {
    if (input[at] == kHeaderMagic >> 24 && input[at + 1] == 0x46 && input[at + 2] == 0x49 &&
        input[at + 3] == 0xfb) {
      return at;
    }
  }
  return input.size();
}

bool MutateQcow2Part(RandomStream& random, absl::Span<uint8_t> bytes, Qcow2Part part) {
  if (bytes.size() < 8) return false;
  Image image(bytes);
  switch (part) {
    case Qcow2Part::kHeader:
      return ChangeField(random, image, 0, kHeaderFields);
    case Qcow2Part::kExtension:
      return ChangeExtension(random, image);
    case Qcow2Part::kL1Entry:
      return ChangeL1(random, image);
    case Qcow2Part::kL2Entry:
      return ChangeL2(random, image);
    case Qcow2Part::kRefcountTable:
      return ChangeRefcountTable(random, image);
    case Qcow2Part::kRefcount:
      return ChangeRefcount(random, image);
    case Qcow2Part::kSnapshot:
      return ChangeSnapshot(random, image);
    case Qcow2Part::kBitmap:
      return ChangeBitmaps(random, image);
    case Qcow2Part::kData:
      return ChangeData(random, image);
    case Qcow2Part::kCluster:
      return ChangeCluster(random, image);
  }
  return false;
}

void MutateQcow2Image(RandomStream& random, absl::Span<uint8_t> image) {
  const uint64_t changes = 1 + random.Below(4);
  for (uint64_t i = 0; i < changes; ++i) {
    // Where the image has no such part another is drawn.
    for (int tries = 0; tries < 8; ++tries) {
      const auto part = static_cast<Qcow2Part>(random.Below(kQcow2Parts));
      if (MutateQcow2Part(random, image, part)) break;
    }
  }
}

}  // namespace millrace
