// The mutator of qcow2 images stays inside its bytes and reaches what it says it reaches.
#include "tests/fuzz/qcow2_image_mutator.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "tests/support/crafted_qcow2.h"
#include "tests/support/qcow2_images.h"

namespace millrace::qcow2_image_mutator_test {
namespace {

constexpr uint64_t kCluster = 512;

// With a snapshot, bitmaps, data and a compressed cluster.
std::vector<uint8_t> Everything() {
  CrashDisk disk = MakeImage({.bytes = 128 * kCluster, .cluster_bytes = kCluster});
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  FormatNode node(context, MakeQcow2Driver());
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
    absl::Status result = node.CoOpen();
    if (result.ok()) result = node.CoWrite(0, std::vector<uint8_t>(4 * kCluster, 'a'));
    node.CoClose();
    return result;
  });
  EXPECT_TRUE(status.ok()) << status;
  CraftedQcow2 image(std::move(disk));
  image.Compress(2, std::vector<uint8_t>(kCluster, 'a'));
  image.AddSnapshot("one");
  image.AddBitmaps();
  return image.Finish().live();
}

// The places that changed when `part` was mutated many times, each time from the same image.
std::set<uint64_t> PlacesOf(const std::vector<uint8_t>& image, Qcow2Part part) {
  std::set<uint64_t> places;
  RandomStream random(1);
  for (int i = 0; i < 3000; ++i) {
    std::vector<uint8_t> changed = image;
    MutateQcow2Part(random, absl::MakeSpan(changed), part);
    for (uint64_t at = 0; at < image.size(); ++at) {
      if (changed[at] != image[at]) places.insert(at);
    }
  }
  return places;
}

bool Touches(const std::set<uint64_t>& places, uint64_t begin, uint64_t bytes) {
  const auto found = places.lower_bound(begin);
  return found != places.end() && *found < begin + bytes;
}

TEST(Qcow2ImageMutator, ChangesEveryFieldOfTheHeader) {
  const std::set<uint64_t> places = PlacesOf(Everything(), Qcow2Part::kHeader);
  constexpr std::pair<uint64_t, uint64_t> kFields[] = {
      {4, 4},  {8, 8},  {16, 4}, {20, 4}, {24, 8}, {32, 4}, {36, 4}, {40, 8},  {48, 8},
      {56, 4}, {60, 4}, {64, 8}, {72, 8}, {80, 8}, {88, 8}, {96, 4}, {100, 4}, {104, 1}};
  for (const auto& [offset, bytes] : kFields) {
    EXPECT_TRUE(Touches(places, offset, bytes)) << "field at " << offset;
  }
  EXPECT_FALSE(Touches(places, 105, 1 << 20));
}

TEST(Qcow2ImageMutator, FindsTheTablesOfTheImage) {
  const std::vector<uint8_t> image = Everything();
  auto get = [&](uint64_t offset) { return qcow2::LoadBig<uint64_t>(&image[offset]); };
  const uint64_t l1 = get(40);
  const uint64_t l2 = get(l1) & qcow2::kEntryOffsetMask;
  const uint64_t refcount_table = get(48);
  const struct {
    Qcow2Part part;
    uint64_t place;
    uint64_t bytes;
  } kTables[] = {{Qcow2Part::kL1Entry, l1, 8},
                 {Qcow2Part::kL2Entry, l2, 32},
                 {Qcow2Part::kRefcountTable, refcount_table, 8},
                 {Qcow2Part::kRefcount, get(refcount_table), 32},
                 {Qcow2Part::kSnapshot, get(64), 56},
                 {Qcow2Part::kBitmap, BitmapsOf(CrashDisk(image))[0].entry.table_offset, 8},
                 {Qcow2Part::kData, get(l2) & qcow2::kEntryOffsetMask, 64}};
  for (const auto& table : kTables) {
    EXPECT_TRUE(Touches(PlacesOf(image, table.part), table.place, table.bytes))
        << "part " << static_cast<int>(table.part);
  }
}

TEST(Qcow2ImageMutator, StaysInsideItsBytesWhateverTheyAre) {
  const std::vector<uint8_t> image = Everything();
  RandomStream random(2);
  for (int i = 0; i < 20000; ++i) {
    // Exactly as long as it is: a sanitizer sees a step outside.
    std::vector<uint8_t> bytes(
        image.begin(), image.begin() + static_cast<ptrdiff_t>(random.Below(image.size() + 1)));
    for (int change = 0; change < 6; ++change) {
      MutateQcow2Image(random, absl::MakeSpan(bytes));
    }
  }
}

TEST(Qcow2ImageMutator, FindsTheImageBehindATargetsOwnBytes) {
  std::vector<uint8_t> input(25, 1);
  EXPECT_EQ(FindQcow2Image(input), input.size());
  const std::vector<uint8_t> image = Everything();
  input.insert(input.end(), image.begin(), image.end());
  EXPECT_EQ(FindQcow2Image(input), 25u);
}

}  // namespace
}  // namespace millrace::qcow2_image_mutator_test
