#include "examples/quickstart/disk_model.h"

#include <algorithm>
#include <cstring>

#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr size_t kWords = DiskModel::kSectorBytes / sizeof(uint64_t);

// Word 0 tells the tag, the others depend on both numbers and on their place.
void FillSector(uint64_t sector, uint32_t tag, uint8_t* memory) {
  uint64_t words[kWords] = {};
  if (tag != 0) {
    words[0] = uint64_t{tag} << 32 | tag;
    uint64_t state = (sector + 1) * 0x9e3779b97f4a7c15u ^ tag * 0xbf58476d1ce4e5b9u;
    for (size_t i = 1; i < kWords; ++i) words[i] = state += 0x94d049bb133111ebu;
  }
  std::memcpy(memory, words, sizeof(words));
}

}  // namespace

void DiskModel::Fill(ByteRange range, uint32_t tag, uint8_t* memory) {
  for (uint64_t at = 0; at < range.bytes; at += kSectorBytes) {
    FillSector((range.offset + at) / kSectorBytes, tag, memory + at);
  }
}

void DiskModel::Write(ByteRange range, uint32_t tag) {
  const auto first = tags_.begin() + static_cast<ptrdiff_t>(range.offset / kSectorBytes);
  std::fill(first, first + static_cast<ptrdiff_t>(range.bytes / kSectorBytes), tag);
}

void DiskModel::Expect(ByteRange range, uint8_t* memory) const {
  for (uint64_t at = 0; at < range.bytes; at += kSectorBytes) {
    const uint64_t sector = (range.offset + at) / kSectorBytes;
    FillSector(sector, tags_[sector], memory + at);
  }
}

absl::Status DiskModel::Check(ByteRange range, const uint8_t* memory) const {
  uint8_t expected[kSectorBytes];
  for (uint64_t at = 0; at < range.bytes; at += kSectorBytes) {
    const uint64_t sector = (range.offset + at) / kSectorBytes;
    FillSector(sector, tags_[sector], expected);
    if (std::memcmp(expected, memory + at, kSectorBytes) == 0) continue;
    const std::optional<uint32_t> tag = TagOf(sector, memory + at);
    return absl::DataLossError(
        StrCat("sector ", sector, " should hold write ", tags_[sector], " and holds ",
               tag ? StrCat("write ", *tag) : std::string("bytes that are none of its own")));
  }
  return absl::OkStatus();
}

absl::Status DiskModel::Compare(const DiskModel& shown) const {
  const auto [expected, found] = std::mismatch(tags_.begin(), tags_.end(), shown.tags_.begin());
  if (expected == tags_.end()) return absl::OkStatus();
  return absl::DataLossError(StrCat("sector ", expected - tags_.begin(), " should hold write ",
                                    *expected, " and holds write ", *found));
}

uint64_t DiskModel::Digest() const {
  uint64_t digest = 0xcbf29ce484222325u;
  for (const uint32_t tag : tags_) digest = (digest ^ tag) * 0x100000001b3u;
  return digest;
}

std::optional<uint32_t> DiskModel::TagOf(uint64_t sector, const uint8_t* memory) {
  uint64_t first = 0;
  std::memcpy(&first, memory, sizeof(first));
  const auto tag = static_cast<uint32_t>(first);
  uint8_t expected[kSectorBytes];
  FillSector(sector, tag, expected);
  if (std::memcmp(expected, memory, kSectorBytes) != 0) return std::nullopt;
  return tag;
}

}  // namespace millrace
