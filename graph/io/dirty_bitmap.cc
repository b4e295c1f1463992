#include "millrace/graph/io/dirty_bitmap.h"

#include <algorithm>
#include <bit>

#include "millrace/engine/base/check.h"

namespace millrace {
namespace {

constexpr uint64_t kAllBits = ~uint64_t{0};

// Bits [from, to) of a word; 0 <= from < to <= 64.
constexpr uint64_t Mask(uint64_t from, uint64_t to) {
  return (kAllBits << from) & (kAllBits >> (64 - to));
}

// Calls `visit(word, mask)` for each word that granules [from, to) of a leaf lie in.
template <typename Visit>
void ForWords(uint64_t from, uint64_t to, Visit visit) {
  for (uint64_t at = from; at < to;) {
    const uint64_t word = at / 64;
    const uint64_t end = std::min(to, (word + 1) * 64);
    visit(word, Mask(at % 64, end - word * 64));
    at = end;
  }
}

// The first granule of a leaf in [from, to) whose bit is set in words of `word_at`; `to` if none.
template <typename WordAt>
uint64_t FindBit(uint64_t from, uint64_t to, WordAt word_at) {
  for (uint64_t at = from; at < to;) {
    const uint64_t word = at / 64;
    const uint64_t bits = word_at(word) & (kAllBits << (at % 64));
    if (bits != 0) return std::min(to, word * 64 + static_cast<uint64_t>(std::countr_zero(bits)));
    at = (word + 1) * 64;
  }
  return to;
}

uint64_t GranuleCount(uint64_t bytes, uint64_t granularity) {
  return bytes / granularity + (bytes % granularity != 0 ? 1 : 0);
}

}  // namespace

DirtyBitmap::DirtyBitmap(uint64_t bytes, uint64_t granularity)
    : bytes_(bytes), granularity_(granularity), granules_(GranuleCount(bytes, granularity)) {
  MILLRACE_CHECK(IsPowerOfTwo(granularity) && granularity >= kGranularityMin,
                 "a bitmap's granularity is a power of two of at least 512 bytes");
}

uint64_t DirtyBitmap::GranulesIn(uint64_t leaf) const {
  return std::min(kLeafGranules, granules_ - leaf * kLeafGranules);
}

// ---- Marking -----------------------------------------------------------------------------------

void DirtyBitmap::Set(ByteRange range) {
  range = range.Intersect(ByteRange(0, bytes_));
  if (range.empty()) return;
  const uint64_t last = (range.end() - 1) / granularity_;
  for (uint64_t granule = range.offset / granularity_; granule <= last;) {
    const uint64_t leaf = granule / kLeafGranules;
    const uint64_t from = granule % kLeafGranules;
    const uint64_t to = std::min(kLeafGranules, last + 1 - leaf * kLeafGranules);
    SetInLeaf(leaf, from, to);
    granule = leaf * kLeafGranules + to;
  }
}

void DirtyBitmap::SetInLeaf(uint64_t index, uint64_t from, uint64_t to) {
  const uint64_t capacity = GranulesIn(index);
  auto [found, is_new] = leaves_.try_emplace(index, nullptr);
  if (!is_new && found->second == nullptr) return;  // all dirty already
  const uint64_t before = is_new ? 0 : found->second->dirty;
  if (from == 0 && to == capacity) {
    found->second = nullptr;
    dirty_granules_ += capacity - before;
    return;
  }
  if (is_new) found->second = std::make_unique<Leaf>();
  Leaf& leaf = *found->second;
  ForWords(from, to, [&](uint64_t word, uint64_t mask) {
    leaf.dirty += static_cast<uint64_t>(std::popcount(mask & ~leaf.words[word]));
    leaf.words[word] |= mask;
  });
  dirty_granules_ += leaf.dirty - before;
  if (leaf.dirty == capacity) found->second = nullptr;
}

void DirtyBitmap::Reset(ByteRange range) {
  if (range.empty()) return;
  MILLRACE_CHECK(IsAligned(range.offset, granularity_) && range.end() <= bytes_ &&
                     (IsAligned(range.end(), granularity_) || range.end() == bytes_),
                 "I17: a part of a granule would be forgotten");
  const uint64_t last = (range.end() - 1) / granularity_;
  for (uint64_t granule = range.offset / granularity_; granule <= last;) {
    const uint64_t leaf = granule / kLeafGranules;
    const uint64_t from = granule % kLeafGranules;
    const uint64_t to = std::min(kLeafGranules, last + 1 - leaf * kLeafGranules);
    ResetInLeaf(leaf, from, to);
    granule = leaf * kLeafGranules + to;
  }
}

void DirtyBitmap::ResetInLeaf(uint64_t index, uint64_t from, uint64_t to) {
  auto found = leaves_.find(index);
  if (found == leaves_.end()) return;
  const uint64_t capacity = GranulesIn(index);
  if (found->second == nullptr && !(from == 0 && to == capacity)) {
    found->second = std::make_unique<Leaf>();
    Leaf& full = *found->second;
    full.dirty = capacity;
    ForWords(0, capacity, [&](uint64_t word, uint64_t mask) { full.words[word] |= mask; });
  }
  const uint64_t before = found->second == nullptr ? capacity : found->second->dirty;
  uint64_t after = 0;
  if (found->second != nullptr) {
    Leaf& leaf = *found->second;
    ForWords(from, to, [&](uint64_t word, uint64_t mask) {
      leaf.dirty -= static_cast<uint64_t>(std::popcount(mask & leaf.words[word]));
      leaf.words[word] &= ~mask;
    });
    after = leaf.dirty;
  }
  dirty_granules_ -= before - after;
  if (after == 0) leaves_.erase(found);
}

// ---- Asking ------------------------------------------------------------------------------------

bool DirtyBitmap::IsDirty(uint64_t offset) const {
  if (offset >= bytes_) return false;
  const uint64_t granule = offset / granularity_;
  return FindDirty(granule, granule + 1) == granule;
}

uint64_t DirtyBitmap::dirty_bytes() const {
  const uint64_t overhang = granules_ * granularity_ - bytes_;
  const bool has_overhang = overhang != 0 && IsDirty(bytes_ - 1);
  return dirty_granules_ * granularity_ - (has_overhang ? overhang : 0);
}

uint64_t DirtyBitmap::FindDirty(uint64_t granule, uint64_t limit) const {
  if (granule >= limit) return limit;
  const uint64_t first_leaf = granule / kLeafGranules;
  for (auto leaf = leaves_.lower_bound(first_leaf); leaf != leaves_.end(); ++leaf) {
    const uint64_t start = leaf->first * kLeafGranules;
    if (start >= limit) break;
    const uint64_t from = leaf->first == first_leaf ? granule - start : 0;
    if (leaf->second == nullptr) return start + from;
    const uint64_t to = GranulesIn(leaf->first);
    const uint64_t bit =
        FindBit(from, to, [&](uint64_t word) { return leaf->second->words[word]; });
    if (bit < to) return std::min(limit, start + bit);
  }
  return limit;
}

uint64_t DirtyBitmap::FindClean(uint64_t granule, uint64_t limit) const {
  while (granule < limit) {
    const uint64_t index = granule / kLeafGranules;
    const uint64_t start = index * kLeafGranules;
    const uint64_t to = GranulesIn(index);
    auto leaf = leaves_.find(index);
    if (leaf == leaves_.end()) return granule;
    if (leaf->second != nullptr) {
      const uint64_t bit =
          FindBit(granule - start, to, [&](uint64_t word) { return ~leaf->second->words[word]; });
      if (bit < to) return std::min(limit, start + bit);
    }
    granule = start + to;
  }
  return limit;
}

std::optional<ByteRange> DirtyBitmap::NextDirty(uint64_t offset, uint64_t bytes_max) const {
  if (offset >= bytes_) return std::nullopt;
  const uint64_t from = FindDirty(offset / granularity_, granules_);
  if (from == granules_) return std::nullopt;
  const uint64_t length_max = std::max<uint64_t>(bytes_max / granularity_, 1);
  const uint64_t limit = length_max < granules_ - from ? from + length_max : granules_;
  const uint64_t start = from * granularity_;
  const uint64_t end = std::min(FindClean(from + 1, limit) * granularity_, bytes_);
  return ByteRange(start, end - start);
}

}  // namespace millrace
