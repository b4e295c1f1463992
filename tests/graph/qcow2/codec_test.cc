// L2 entries, refcounts and compressed data as pure functions.
#include <cstdint>
#include <initializer_list>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/graph/drivers/qcow2/decompress.h"
#include "millrace/graph/drivers/qcow2/l2_entry.h"
#include "millrace/graph/drivers/qcow2/refcount_codec.h"
#include "tests/support/qcow2_images.h"

namespace millrace::qcow2 {
namespace {

TEST(Qcow2Refcount, EveryWidthKeepsItsNeighbours) {
  for (uint32_t order = 0; order <= 6; ++order) {
    SCOPED_TRACE(order);
    const uint64_t mask = order == 6 ? ~uint64_t{0} : (uint64_t{1} << (1u << order)) - 1;
    std::vector<uint8_t> block(64);
    const uint64_t count = (block.size() * 8) >> order;
    std::vector<uint64_t> model(count);
    RandomStream random(order);
    for (int step = 0; step < 1000; ++step) {
      const uint64_t index = random.Below(count);
      model[index] = random.Next() & mask;
      StoreRefcount(block.data(), index, order, model[index]);
      for (uint64_t i = 0; i < count; ++i) {
        ASSERT_EQ(LoadRefcount(block.data(), i, order), model[i]);
      }
    }
  }
}

// The layout QEMU writes: narrow refcounts fill a byte from its least significant bit.
TEST(Qcow2Refcount, NarrowWidthsStartAtTheLeastSignificantBit) {
  std::vector<uint8_t> block(2);
  StoreRefcount(block.data(), 1, 0, 1);
  StoreRefcount(block.data(), 2, 2, 9);
  EXPECT_EQ(block, (std::vector<uint8_t>{0x02, 0x09}));
}

TEST(Qcow2L2Entry, EveryEntrySurvivesDecodingAndEncoding) {
  RandomStream random(1);
  for (int i = 0; i < 100000; ++i) {
    Geometry geometry;
    geometry.cluster_bits = 9 + static_cast<uint32_t>(random.Below(13));
    geometry.version = 2 + static_cast<uint32_t>(random.Below(2));
    geometry.extended_l2 = geometry.version == 3 && geometry.cluster_bits >= 14 && random.OneIn(2);
    RawL2Entry raw{random.Next() & random.Next(), geometry.extended_l2 ? random.Next() : 0};
    if (random.OneIn(2))
      raw.descriptor &= ~(geometry.cluster_bytes() - 1) & ~uint64_t{0x3f000000000001fe};
    if (random.OneIn(2)) raw.bitmap &= ~(raw.bitmap << 32) & ~(raw.bitmap >> 32);
    const absl::StatusOr<L2Entry> entry = DecodeL2Entry(raw, geometry);
    if (!entry.ok()) continue;
    ASSERT_EQ(entry->allocated & entry->zero, 0u);
    const RawL2Entry again = EncodeL2Entry(*entry, geometry);
    // The flag "copied" without a cluster means nothing and is dropped.
    if (!entry->has_host() && !entry->is_compressed) raw.descriptor &= ~kEntryCopied;
    ASSERT_EQ(again, raw) << std::hex << raw.descriptor;
  }
}

TEST(Qcow2L2Entry, BrokenEntriesAreDataLoss) {
  const Geometry standard;
  Geometry version2;
  version2.version = 2;
  Geometry extended;
  extended.extended_l2 = true;
  const struct {
    const char* what;
    Geometry geometry;
    RawL2Entry raw;
  } cases[] = {
      {"unaligned", standard, {512, 0}},
      {"reserved bit 1", standard, {65536 | 2, 0}},
      {"reserved bit 56", standard, {65536 | uint64_t{1} << 56, 0}},
      {"zero flag in version 2", version2, {1, 0}},
      {"zero flag in an extended entry", extended, {65536 | 1, 1}},
      {"both allocated and zero", extended, {65536, uint64_t{1} << 32 | 1}},
      {"allocated without a cluster", extended, {0, 1}},
      {"compressed and copied", standard, {uint64_t{3} << 62 | 4096, 0}},
      {"compressed at 0", standard, {uint64_t{1} << 62, 0}},
  };
  for (const auto& each : cases) {
    EXPECT_TRUE(absl::IsDataLoss(DecodeL2Entry(each.raw, each.geometry).status())) << each.what;
  }
}

// Streams that store the data as it is, by hand; packed ones come from QEMU in tests/interop.
std::vector<uint8_t> Deflate(const std::vector<uint8_t>& data) {
  const auto low = static_cast<uint8_t>(data.size());
  const auto high = static_cast<uint8_t>(data.size() >> 8);
  std::vector<uint8_t> stream = {0x01, low, high, static_cast<uint8_t>(~low),
                                 static_cast<uint8_t>(~high)};
  // One by one: g++ 12 takes the range insert after a fixed start for an overrun.
  for (const uint8_t byte : data) stream.push_back(byte);
  return stream;
}

std::vector<uint8_t> PackZstd(const std::vector<uint8_t>& data) {
  const uint64_t content = data.size() - 256;
  const uint64_t block = data.size() << 3 | 1;
  std::vector<uint8_t> frame;
  frame.reserve(data.size() + 16);
  for (const uint8_t byte : std::initializer_list<uint8_t>{0x28, 0xb5, 0x2f, 0xfd, 0x60}) {
    frame.push_back(byte);
  }
  for (uint64_t value : {content, content >> 8, block, block >> 8, block >> 16}) {
    frame.push_back(static_cast<uint8_t>(value));
  }
  frame.insert(frame.end(), data.begin(), data.end());
  return frame;
}

TEST(Qcow2Decompress, FillsExactlyOneClusterAndIgnoresWhatFollows) {
  const std::vector<uint8_t> data = Pattern(4096, 1);
  for (uint8_t type : {uint8_t{0}, uint8_t{1}}) {
    std::vector<uint8_t> packed = type == 0 ? Deflate(data) : PackZstd(data);
    packed.resize(packed.size() + 300, 0x5a);
    std::vector<uint8_t> target(data.size());
    EXPECT_TRUE(Decompress(type, packed, absl::MakeSpan(target)).ok());
    EXPECT_EQ(target, data);
  }
}

TEST(Qcow2Decompress, BrokenShortAndLongStreamsAreDataLoss) {
  const std::vector<uint8_t> data = Pattern(4096, 1);
  for (uint8_t type : {uint8_t{0}, uint8_t{1}}) {
    const std::vector<uint8_t> packed = type == 0 ? Deflate(data) : PackZstd(data);
    std::vector<uint8_t> target(4096);
    const auto half = absl::MakeConstSpan(packed).first(packed.size() / 2);
    EXPECT_TRUE(absl::IsDataLoss(Decompress(type, half, absl::MakeSpan(target))));
    EXPECT_TRUE(absl::IsDataLoss(Decompress(type, {}, absl::MakeSpan(target))));
    EXPECT_TRUE(absl::IsDataLoss(Decompress(type, Pattern(512, 3), absl::MakeSpan(target))));
    std::vector<uint8_t> larger(8192);
    EXPECT_TRUE(absl::IsDataLoss(Decompress(type, packed, absl::MakeSpan(larger))));
  }
  std::vector<uint8_t> smaller(2048);
  EXPECT_TRUE(absl::IsDataLoss(Decompress(1, PackZstd(data), absl::MakeSpan(smaller))));
}

}  // namespace
}  // namespace millrace::qcow2
