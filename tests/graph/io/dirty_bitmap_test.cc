#include "millrace/graph/io/dirty_bitmap.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/scheduler/decider.h"
#include "tests/support/seeds.h"

namespace millrace::dirty_bitmap_test {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kTiB = uint64_t{1} << 40;

// What a bitmap should say: one flag per granule.
class NaiveBitmap {
 public:
  NaiveBitmap(uint64_t bytes, uint64_t granularity)
      : bytes_(bytes), granularity_(granularity), dirty_((bytes + granularity - 1) / granularity) {}

  void Mark(ByteRange range, bool is_dirty) {
    for (uint64_t i = range.offset / granularity_; i < dirty_.size() && Granule(i).Overlaps(range);
         ++i) {
      if (dirty_[i] == is_dirty) continue;
      dirty_[i] = is_dirty;
      dirty_bytes_ += is_dirty ? Granule(i).bytes : -Granule(i).bytes;
    }
  }
  bool IsDirty(uint64_t offset) const { return offset < bytes_ && dirty_[offset / granularity_]; }
  uint64_t dirty_bytes() const { return dirty_bytes_; }
  std::optional<ByteRange> NextDirty(uint64_t offset, uint64_t bytes_max) const {
    for (uint64_t i = offset / granularity_; i < dirty_.size(); ++i) {
      if (!dirty_[i]) continue;
      ByteRange area = Granule(i);
      while (++i < dirty_.size() && dirty_[i] && area.bytes + granularity_ <= bytes_max) {
        area.bytes += Granule(i).bytes;
      }
      return area;
    }
    return std::nullopt;
  }

 private:
  ByteRange Granule(uint64_t i) const {
    return ByteRange(i * granularity_, std::min(granularity_, bytes_ - i * granularity_));
  }
  const uint64_t bytes_;
  const uint64_t granularity_;
  std::vector<bool> dirty_;
  uint64_t dirty_bytes_ = 0;
};

TEST(DirtyBitmap, OneByteMarksItsWholeGranule) {
  DirtyBitmap bitmap(1024 * kKiB, 64 * kKiB);
  bitmap.Set(ByteRange(64 * kKiB - 1, 2));
  EXPECT_EQ(bitmap.dirty_bytes(), 128 * kKiB);
  EXPECT_EQ(bitmap.NextDirty(0, kBytesMax), ByteRange(0, 128 * kKiB));
  EXPECT_FALSE(bitmap.IsDirty(128 * kKiB));
  bitmap.Reset(ByteRange(0, 64 * kKiB));
  EXPECT_EQ(bitmap.NextDirty(0, kBytesMax), ByteRange(64 * kKiB, 64 * kKiB));
}

TEST(DirtyBitmap, WhatLiesBeyondTheEndDoesNotCount) {
  DirtyBitmap bitmap(1000, 512);
  bitmap.Set(ByteRange(900, 5000));
  EXPECT_EQ(bitmap.dirty_bytes(), 488u);
  EXPECT_EQ(bitmap.NextDirty(0, kBytesMax), ByteRange(512, 488));
  bitmap.Set(ByteRange(1000, 1));
  EXPECT_EQ(bitmap.dirty_bytes(), 488u);
  bitmap.Reset(ByteRange(512, 488));
  EXPECT_TRUE(bitmap.is_clean());
}

TEST(DirtyBitmap, AnEmptyImageIsClean) {
  DirtyBitmap bitmap(0, 512);
  bitmap.Set(ByteRange(0, 512));
  EXPECT_TRUE(bitmap.is_clean());
  EXPECT_EQ(bitmap.NextDirty(0, kBytesMax), std::nullopt);
}

TEST(DirtyBitmap, AnAreaIsAtLeastOneGranuleLongHoweverLittleIsAskedFor) {
  DirtyBitmap bitmap(4096, 1024);
  bitmap.Set(ByteRange(0, 4096));
  EXPECT_EQ(bitmap.NextDirty(0, 1), ByteRange(0, 1024));
  EXPECT_EQ(bitmap.NextDirty(1500, 2048), ByteRange(1024, 2048));
}

TEST(DirtyBitmap, AHugeImageCostsWhatIsMixedInIt) {
  constexpr uint64_t kGranularity = 64 * kKiB;
  DirtyBitmap bitmap(16 * kTiB, kGranularity);
  bitmap.Set(ByteRange(0, 16 * kTiB));
  EXPECT_EQ(bitmap.dirty_bytes(), 16 * kTiB);
  bitmap.Reset(ByteRange(0, 16 * kTiB));
  EXPECT_TRUE(bitmap.is_clean());
  bitmap.Set(ByteRange(15 * kTiB, 1));
  EXPECT_EQ(bitmap.NextDirty(0, kBytesMax), ByteRange(15 * kTiB, kGranularity));
  bitmap.Set(ByteRange(0, 16 * kTiB));
  bitmap.Reset(ByteRange(8 * kTiB, kGranularity));
  EXPECT_EQ(bitmap.NextDirty(0, kBytesMax), ByteRange(0, 8 * kTiB));
  EXPECT_EQ(bitmap.NextDirty(8 * kTiB, kBytesMax),
            ByteRange(8 * kTiB + kGranularity, 8 * kTiB - kGranularity));
}

TEST(DirtyBitmapDeathTest, ForgettingAPartOfAGranuleIsABug) {
  DirtyBitmap bitmap(4096, 1024);
  EXPECT_DEATH(bitmap.Reset(ByteRange(0, 512)), "I17");
}

// Around the borders of words and leaves, where the arithmetic could be off by one.
TEST(DirtyBitmap, AgreesWithOneFlagPerGranule) {
  constexpr uint64_t kGranularity = 512;
  constexpr uint64_t kLeafBytes = 32768 * kGranularity;
  for (uint64_t seed : Seeds(20)) {
    SCOPED_TRACE(seed);
    RandomStream random(seed);
    const uint64_t bytes = 2 * kLeafBytes + random.Below(kLeafBytes / 8) + 1;
    DirtyBitmap bitmap(bytes, kGranularity);
    NaiveBitmap naive(bytes, kGranularity);
    auto draw_offset = [&] {
      const uint64_t near = random.Below(4) * kLeafBytes + random.Below(4) * 64 * kGranularity;
      const uint64_t offset = near + random.Below(3000) - std::min<uint64_t>(near, 1500);
      return std::min(random.OneIn(3) ? random.Below(bytes) : offset, bytes - 1);
    };
    for (int step = 0; step < 12; ++step) {
      const uint64_t a = draw_offset();
      const uint64_t b = draw_offset();
      ByteRange range(std::min(a, b), std::max(a, b) - std::min(a, b) + 1);
      if (random.OneIn(3)) {
        range = ByteRange(AlignDown(range.offset, kGranularity),
                          std::min(AlignUp(range.end(), kGranularity), bytes) -
                              AlignDown(range.offset, kGranularity));
        bitmap.Reset(range);
        naive.Mark(range, false);
      } else {
        bitmap.Set(range);
        naive.Mark(range, true);
      }
      ASSERT_EQ(bitmap.dirty_bytes(), naive.dirty_bytes());
      ASSERT_EQ(bitmap.is_clean(), naive.dirty_bytes() == 0);
      for (int look = 0; look < 4; ++look) {
        const uint64_t at = draw_offset();
        const uint64_t limit = random.OneIn(2) ? kBytesMax : (random.Below(200) + 1) * kGranularity;
        ASSERT_EQ(bitmap.IsDirty(at), naive.IsDirty(at));
        ASSERT_EQ(bitmap.NextDirty(at, limit), naive.NextDirty(at, limit)) << at << " " << limit;
      }
    }
  }
}

}  // namespace
}  // namespace millrace::dirty_bitmap_test
