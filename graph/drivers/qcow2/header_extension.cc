#include "millrace/graph/drivers/qcow2/header_extension.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/geometry.h"

namespace millrace::qcow2 {
namespace {

constexpr size_t kRecordHeaderBytes = 8;
constexpr size_t kFeatureNameBytes = 48;

struct KnownFeature {
  FeatureKind kind;
  uint8_t bit;
  std::string_view name;
};
constexpr KnownFeature kKnownFeatures[] = {
    {FeatureKind::kIncompatible, 0, "dirty bit"},
    {FeatureKind::kIncompatible, 1, "corrupt bit"},
    {FeatureKind::kIncompatible, 2, "external data file"},
    {FeatureKind::kIncompatible, 3, "compression type"},
    {FeatureKind::kIncompatible, 4, "extended L2 entries"},
    {FeatureKind::kCompatible, 0, "lazy refcounts"},
    {FeatureKind::kAutoclear, 0, "bitmaps"},
    {FeatureKind::kAutoclear, 1, "raw external data"},
};

std::string_view KindName(FeatureKind kind) {
  switch (kind) {
    case FeatureKind::kIncompatible:
      return "incompatible";
    case FeatureKind::kCompatible:
      return "compatible";
    case FeatureKind::kAutoclear:
      return "autoclear";
  }
  return "unknown";
}

std::string Printable(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return result;
}

}  // namespace

absl::Status ParseExtensions(absl::Span<const uint8_t> area,
                             std::vector<HeaderExtension>& extensions) {
  size_t position = 0;
  while (area.size() - position >= kRecordHeaderBytes) {
    const uint32_t type = LoadBig<uint32_t>(area.data() + position);
    const uint64_t bytes = LoadBig<uint32_t>(area.data() + position + 4);
    if (type == kExtensionEnd) return absl::OkStatus();
    position += kRecordHeaderBytes;
    if (bytes > area.size() - position) {
      return absl::InvalidArgumentError(StrCat("header extension ", absl::Hex(type), " claims ",
                                               bytes, " bytes; ", area.size() - position,
                                               " are left in the header cluster"));
    }
    const uint8_t* data = area.data() + position;
    extensions.push_back({type, std::vector<uint8_t>(data, data + bytes)});
    position += std::min<uint64_t>(AlignUp(bytes, 8), area.size() - position);
  }
  return absl::OkStatus();
}

bool HoldsWholeExtensions(absl::Span<const uint8_t> start) {
  for (uint64_t position = 0; start.size() - position >= kRecordHeaderBytes;) {
    if (LoadBig<uint32_t>(start.data() + position) == kExtensionEnd) return true;
    const uint64_t bytes = LoadBig<uint32_t>(start.data() + position + 4);
    position += kRecordHeaderBytes + AlignUp(bytes, 8);
    if (position > start.size()) return false;
  }
  return false;
}

std::vector<uint8_t> SerialiseExtensions(absl::Span<const HeaderExtension> extensions) {
  std::vector<uint8_t> area;
  for (const HeaderExtension& extension : extensions) {
    const size_t start = area.size();
    area.resize(start + kRecordHeaderBytes + AlignUp(extension.data.size(), 8));
    StoreBig<uint32_t>(&area[start], extension.type);
    StoreBig<uint32_t>(&area[start + 4], static_cast<uint32_t>(extension.data.size()));
    std::copy(extension.data.begin(), extension.data.end(),
              area.begin() + static_cast<ptrdiff_t>(start + kRecordHeaderBytes));
  }
  area.resize(area.size() + kRecordHeaderBytes);  // the end marker: type 0, length 0
  return area;
}

std::string FeatureName(absl::Span<const HeaderExtension> extensions, FeatureKind kind, int bit) {
  for (const HeaderExtension& extension : extensions) {
    if (extension.type != kExtensionFeatureNames) continue;
    for (size_t i = 0; i + kFeatureNameBytes <= extension.data.size(); i += kFeatureNameBytes) {
      const uint8_t* entry = extension.data.data() + i;
      if (entry[0] != static_cast<uint8_t>(kind) || entry[1] != bit) continue;
      const char* name = reinterpret_cast<const char*>(entry + 2);
      return Printable(std::string_view(name, strnlen(name, kFeatureNameBytes - 2)));
    }
  }
  for (const KnownFeature& feature : kKnownFeatures) {
    if (feature.kind == kind && feature.bit == bit) return std::string(feature.name);
  }
  return StrCat("unknown ", KindName(kind), " feature bit ", bit);
}

HeaderExtension OurFeatureNames() {
  HeaderExtension table{kExtensionFeatureNames, {}};
  for (const KnownFeature& feature : kKnownFeatures) {
    const size_t start = table.data.size();
    table.data.resize(start + kFeatureNameBytes);
    table.data[start] = static_cast<uint8_t>(feature.kind);
    table.data[start + 1] = feature.bit;
    std::memcpy(&table.data[start + 2], feature.name.data(), feature.name.size());
  }
  return table;
}

absl::StatusOr<std::optional<BitmapsExtension>> FindBitmaps(
    absl::Span<const HeaderExtension> extensions, uint64_t cluster_bytes, uint64_t file_bytes) {
  const HeaderExtension* found = nullptr;
  for (const HeaderExtension& extension : extensions) {
    if (extension.type == kExtensionBitmaps) found = &extension;
  }
  if (found == nullptr) return std::optional<BitmapsExtension>();
  if (found->data.size() != 24) {
    return absl::InvalidArgumentError(
        StrCat("the bitmaps extension has ", found->data.size(), " bytes instead of 24"));
  }
  BitmapsExtension bitmaps;
  bitmaps.bitmap_count = LoadBig<uint32_t>(&found->data[0]);
  bitmaps.directory_bytes = LoadBig<uint64_t>(&found->data[8]);
  bitmaps.directory_offset = LoadBig<uint64_t>(&found->data[16]);
  if (const auto reserved = LoadBig<uint32_t>(&found->data[4]); reserved != 0) {
    return absl::InvalidArgumentError(
        StrCat("the reserved field of the bitmaps extension is ", reserved, " instead of 0"));
  }
  if (bitmaps.bitmap_count == 0 || bitmaps.bitmap_count > kBitmapCountMax) {
    return absl::InvalidArgumentError(StrCat("the bitmaps extension counts ", bitmaps.bitmap_count,
                                             " bitmaps (1 to ", kBitmapCountMax, " are possible)"));
  }
  if (bitmaps.directory_bytes == 0 || bitmaps.directory_bytes > kBitmapDirectoryBytesMax) {
    return absl::InvalidArgumentError(StrCat("the bitmap directory has ", bitmaps.directory_bytes,
                                             " bytes (limit ", kBitmapDirectoryBytesMax, ")"));
  }
  if (bitmaps.directory_offset == 0 || bitmaps.directory_offset % cluster_bytes != 0 ||
      bitmaps.directory_offset > file_bytes ||
      bitmaps.directory_bytes > file_bytes - bitmaps.directory_offset) {
    return absl::InvalidArgumentError(StrCat(
        "the bitmap directory at ", bitmaps.directory_offset, " with ", bitmaps.directory_bytes,
        " bytes is not aligned to clusters of ", cluster_bytes,
        " bytes, or does not lie between the header and the end of the file at ", file_bytes));
  }
  return std::optional<BitmapsExtension>(bitmaps);
}

}  // namespace millrace::qcow2
