// What a hostile image may cost: memory in proportion to the file, not to what the file claims.
//
// A program of its own, because it counts every allocation. Pieces that malloc hands to zlib and
// zstd are not counted; they are of fixed size.
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/io/sparse_image.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/qcow2_info.h"
#include "tests/fuzz/qcow2_image_mutator.h"
#include "tests/support/image_examiner.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/seeds.h"

namespace {

std::atomic<uint64_t> live_bytes{0};
std::atomic<uint64_t> peak_bytes{0};
std::atomic<uint64_t> largest_bytes{0};

void* Count(void* memory) {
  if (memory == nullptr) std::abort();
  const uint64_t bytes = malloc_usable_size(memory);
  peak_bytes = std::max<uint64_t>(peak_bytes, live_bytes += bytes);
  largest_bytes = std::max<uint64_t>(largest_bytes, bytes);
  return memory;
}
void Release(void* memory) {
  live_bytes -= malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(size_t bytes) { return Count(std::malloc(std::max<size_t>(bytes, 1))); }
void* operator new(size_t bytes, std::align_val_t alignment) {
  const auto unit = static_cast<size_t>(alignment);
  return Count(std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit));
}
void operator delete(void* memory) noexcept { Release(memory); }
void operator delete(void* memory, size_t) noexcept { Release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { Release(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { Release(memory); }

namespace millrace::memory_test {
namespace {

constexpr uint64_t kMiB = 1 << 20;

// The most that `body` held at once beyond what was there before, and its largest single piece.
struct Cost {
  uint64_t peak = 0;
  uint64_t largest = 0;
};
template <typename Body>
Cost CostOf(Body body) {
  const uint64_t before = live_bytes;
  peak_bytes = before;
  largest_bytes = 0;
  body();
  return {peak_bytes - before, largest_bytes};
}

// Describes, checks, opens, maps and reads the ends of an image in memory.
void CoUse(Engine& engine, CrashDisk& disk) MILLRACE_MAY_SUSPEND {
  DiskFile file(disk);
  (void)CoReadQcow2Info(file);
  (void)CoCheckQcow2(file, {});
  FakeDriverContext context(engine, disk);
  context.set_read_only(true);
  FormatNode node(context, MakeQcow2Driver());
  if (node.CoOpen().ok()) {
    const uint64_t bytes = node.driver().bytes();
    uint64_t offset = 0;
    for (int extents = 0; extents < 1000 && offset < bytes; ++extents) {
      const absl::StatusOr<Extent> extent = node.driver().CoMap(ByteRange(offset, bytes - offset));
      if (!extent.ok()) break;
      offset += extent->bytes;
    }
    std::vector<uint8_t> content(std::min<uint64_t>(bytes, 65536));
    (void)node.CoRead(0, absl::MakeSpan(content));
    (void)node.CoRead(bytes - content.size(), absl::MakeSpan(content));
  }
  node.CoClose();
}

Cost CostOfUsing(const std::vector<uint8_t>& image) {
  CrashDisk disk(image);
  return CostOf([&] {
    auto engine = SimulatedEngine();
    (void)engine->Run([&]() MILLRACE_MAY_SUSPEND { CoUse(*engine, disk); });
  });
}

// A header alone, of 1 KiB.
std::vector<uint8_t> SmallImage() {
  std::vector<uint8_t> image = MakeImage({.bytes = 1 << 20, .cluster_bytes = 512}).live();
  image.resize(1024);
  return image;
}

struct Claim {
  uint64_t offset;
  uint32_t bytes;
  uint64_t value;
};

// Each alone and all together, with the smallest and with the largest clusters.
TEST(HostileMemory, AnImageOfOneKibibyteThatClaimsPetabytesCostsLittle) {
  constexpr Claim kClaims[] = {
      {24, 8, uint64_t{1} << 52},  // the guest's disk: 4 PiB
      {36, 4, 4 << 20},            // L1 entries, the most that are allowed
      {56, 4, 16384},              // refcount table: 8 MiB
      {60, 4, 65536},              // snapshots, the most
      {8, 8, 900},                 // a backing file name
      {16, 4, 1023},               // of so many bytes
      {100, 4, 1016},              // header length
  };
  for (const uint8_t cluster_bits : {uint8_t{9}, uint8_t{16}, uint8_t{21}}) {
    std::vector<uint8_t> all = SmallImage();
    all[23] = cluster_bits;
    for (const Claim& claim : kClaims) {
      std::vector<uint8_t> one = SmallImage();
      one[23] = cluster_bits;
      for (std::vector<uint8_t>* image : {&one, &all}) {
        for (uint32_t i = 0; i < claim.bytes; ++i) {
          (*image)[claim.offset + i] =
              static_cast<uint8_t>(claim.value >> 8 * (claim.bytes - 1 - i));
        }
        const Cost cost = CostOfUsing(*image);
        EXPECT_LT(cost.largest, kMiB) << "the field at " << claim.offset;
        EXPECT_LT(cost.peak, 2 * kMiB) << "the field at " << claim.offset;
      }
    }
  }
}

// Thousands of images that lie, field by field: what a cluster of 2 MiB costs is the worst of it.
TEST(HostileMemory, NoLieCostsMoreThanAFewClusters) {
  CrashDisk disk = MakeImage({.bytes = 1 << 20, .cluster_bytes = 512});
  {
    auto engine = SimulatedEngine();
    FakeDriverContext context(*engine, disk);
    FormatNode node(context, MakeQcow2Driver());
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND {
      absl::Status result = node.CoOpen();
      if (result.ok()) result = node.CoWrite(0, std::vector<uint8_t>(5000, 'a'));
      node.CoClose();
      return result;
    });
    ASSERT_TRUE(status.ok()) << status;
  }
  const std::vector<uint8_t> image = disk.live();
  ASSERT_LT(image.size(), 16384u);
  uint64_t worst = 0;
  for (uint64_t seed : Seeds(1)) {
    for (uint64_t i = 0; i < 10; ++i) {
      RandomStream random(seed * 10 + i, "lies");
      std::vector<uint8_t> changed = image;
      MutateQcow2Image(random, absl::MakeSpan(changed));
      const Cost cost = CostOfUsing(changed);
      worst = std::max(worst, cost.peak);
      ASSERT_LT(cost.peak, 8 * kMiB) << "seed " << seed * 10 + i;
      ASSERT_LT(cost.largest, 5 * kMiB) << "seed " << seed * 10 + i;
    }
  }
  RecordProperty("worst peak, KiB", std::to_string(worst >> 10));
}

// A sparse file of a pebibyte with a sound header and the longest tables that the format allows,
// all of them holes: checking it costs its size in nothing.
TEST(HostileMemory, ASparseFileOfAPebibyteCostsWhatIsInIt) {
  std::vector<uint8_t> header = MakeImage({.bytes = 1 << 20}).live();
  header.resize(65536);
  qcow2::StoreBig<uint32_t>(&header[36], 4 << 20);
  qcow2::StoreBig<uint64_t>(&header[40], uint64_t{1} << 45);
  qcow2::StoreBig<uint64_t>(&header[48], uint64_t{1} << 46);
  qcow2::StoreBig<uint32_t>(&header[56], 128);
  SparseImage image;
  image.Resize(uint64_t{1} << 50);
  image.Write(0, {reinterpret_cast<const char*>(header.data()), header.size()});
  SparseImageFile file(image);
  absl::StatusOr<Qcow2CheckResult> check = absl::UnknownError("the check did not run");
  const Cost cost = CostOf([&] {
    auto engine = SimulatedEngine();
    (void)engine->Run([&]() MILLRACE_MAY_SUSPEND {
      (void)CoReadQcow2Info(file);
      check = CoCheckQcow2(file, {});
    });
  });
  ASSERT_TRUE(check.ok()) << check.status();
  EXPECT_GT(check->corruptions, 0u);  // nothing has a refcount
  EXPECT_LT(cost.peak, 8 * kMiB);     // the cache of tables
}

// The test of the test: something large is seen.
TEST(HostileMemory, AnAllocationIsCounted) {
  const Cost cost =
      CostOf([] { std::vector<char>(3 * kMiB).swap(*std::make_unique<std::vector<char>>()); });
  EXPECT_GE(cost.peak, 3 * kMiB);
  EXPECT_GE(cost.largest, 3 * kMiB);
}

}  // namespace
}  // namespace millrace::memory_test
