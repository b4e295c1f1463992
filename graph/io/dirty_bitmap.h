// DirtyBitmap: which parts of an image have changed: a set of granules of equal size.
//
// A granule is dirty as a whole: marking one byte marks all of it. The set is kept in leaves of
// 32,768 granules; one that has no dirty granule, or nothing else, takes no memory for its bits, so
// a clean or wholly dirty image of 16 TiB costs next to nothing, and looking for the next dirty
// area skips both kinds in one step.
//
//   DirtyBitmap bitmap(image_bytes, 64 * 1024);
//   bitmap.Set(ByteRange(offset, bytes));
//   for (uint64_t at = 0; std::optional<ByteRange> area = bitmap.NextDirty(at, kBytesMax);
//        at = area->end()) ...
//
// Plain data of one thread: nothing suspends, nothing fails.
#ifndef MILLRACE_GRAPH_IO_DIRTY_BITMAP_H_
#define MILLRACE_GRAPH_IO_DIRTY_BITMAP_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/container/btree_map.h"
#include "millrace/engine/base/byte_range.h"

namespace millrace {

class DirtyBitmap {
 public:
  static constexpr uint64_t kGranularityMin = 512;

  // `granularity` is a power of two and at least kGranularityMin (checked).
  DirtyBitmap(uint64_t bytes, uint64_t granularity);

  uint64_t bytes() const { return bytes_; }
  uint64_t granularity() const { return granularity_; }

  // Marks every granule that `range` touches; what lies beyond the image's end is ignored.
  void Set(ByteRange range);
  // Unmarks. `range` consists of whole granules, the one at the image's end excepted (checked):
  // unmarking a part would forget the rest.
  void Reset(ByteRange range);

  bool IsDirty(uint64_t offset) const;
  bool is_clean() const { return dirty_granules_ == 0; }
  // Bytes in dirty granules; the part of the last granule beyond the image's end does not count.
  uint64_t dirty_bytes() const;

  // The first dirty area that ends after `offset`, from the start of its first dirty granule at or
  // after that of `offset`, as far as it is contiguous, but at most `bytes_max` (and at least one
  // granule) long. Nothing if there is none.
  std::optional<ByteRange> NextDirty(uint64_t offset, uint64_t bytes_max) const;

 private:
  static constexpr uint64_t kLeafWords = 512;
  static constexpr uint64_t kLeafGranules = kLeafWords * 64;
  // The bits of kLeafGranules granules, some of them dirty and some not. Bits beyond the image's
  // end are never set.
  struct Leaf {
    std::array<uint64_t, kLeafWords> words = {};
    uint64_t dirty = 0;
  };
  // A leaf that is not there has no dirty granule; a null one has nothing else.
  using Leaves = absl::btree_map<uint64_t, std::unique_ptr<Leaf>>;

  uint64_t GranulesIn(uint64_t leaf) const;
  void SetInLeaf(uint64_t leaf, uint64_t from, uint64_t to);
  void ResetInLeaf(uint64_t leaf, uint64_t from, uint64_t to);
  // The first granule from `granule` on, below `limit`, that is dirty (or is not); `limit` if none.
  uint64_t FindDirty(uint64_t granule, uint64_t limit) const;
  uint64_t FindClean(uint64_t granule, uint64_t limit) const;

  const uint64_t bytes_;
  const uint64_t granularity_;
  const uint64_t granules_;
  uint64_t dirty_granules_ = 0;
  Leaves leaves_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IO_DIRTY_BITMAP_H_
