// The refcount table has a largest size, QEMU's 8 MiB. Who needs more gets an error, and the image
// stays as it is.
#include <cstdint>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/geometry.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "tests/support/qcow2_images.h"

namespace millrace::refcount_table_limit_test {
namespace {

using qcow2::LoadBig;
using qcow2::StoreBig;

constexpr uint64_t kCluster = 512;
constexpr uint64_t kPerBlock = kCluster / 8;  // refcounts of 64 bits
constexpr uint64_t kTableClusters = qcow2::kRefcountTableBytesMax / kCluster;
constexpr uint64_t kEntries = qcow2::kRefcountTableBytesMax / 8;

// An image whose refcount table is as large as it may be, and in use up to its last entry; between,
// nearly all entries are empty. Every other image at the limit takes 32 GiB.
CrashDisk ImageAtTheLimit() {
  CrashDisk disk = MakeImage({.bytes = 1 << 20, .cluster_bytes = kCluster, .refcount_bits = 64});
  std::vector<uint8_t>& file = disk.live();
  const uint64_t table = (file.size() + kCluster - 1) / kCluster;
  const uint64_t first_block = table + kTableClusters;
  uint64_t blocks = 1;
  while (blocks * kPerBlock < first_block + blocks + 1) ++blocks;
  file.resize((first_block + blocks + 1) * kCluster);
  for (uint64_t block = 0; block < blocks; ++block) {
    StoreBig<uint64_t>(&file[table * kCluster + 8 * block], (first_block + block) * kCluster);
  }
  StoreBig<uint64_t>(&file[table * kCluster + 8 * (kEntries - 1)],
                     (first_block + blocks) * kCluster);
  StoreBig<uint64_t>(&file[48], table * kCluster);
  StoreBig<uint32_t>(&file[56], kTableClusters);
  // The counts, and whatever the first table left.
  const absl::StatusOr<Qcow2CheckResult> repaired = CheckImage(disk, Qcow2Repair::kAll);
  EXPECT_TRUE(repaired.ok() && repaired->is_clean_now()) << Describe(repaired);
  EXPECT_EQ(LoadBig<uint32_t>(&file[56]), kTableClusters) << "the table was made anew";
  return CrashDisk(file);
}

TEST(Qcow2Growth, TheRefcountTableAtItsLimitIsAnErrorThatChangesNothing) {
  CrashDisk disk = ImageAtTheLimit();
  const std::vector<uint8_t> before = disk.live();
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  FormatNode node(context, MakeQcow2Driver());
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    // Its L1 table takes 256 clusters in a row, for which there is room behind the last entry only.
    const absl::Status grown = node.CoResize(512 << 20);
    EXPECT_TRUE(absl::IsResourceExhausted(grown)) << grown;
    EXPECT_THAT(FromAbsl(grown.message()),
                testing::HasSubstr("refcount table has reached its limit of 8388608 bytes"));
    EXPECT_EQ(node.driver().bytes(), 1u << 20);
    node.CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(disk.live() == before) << "the file has changed";
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
  EXPECT_TRUE(check.ok() && check->is_clean()) << Describe(check);
}

// What needs no new entry works on.
TEST(Qcow2Growth, AnImageAtTheLimitOfItsRefcountTableTakesWrites) {
  CrashDisk disk = ImageAtTheLimit();
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  FormatNode node(context, MakeQcow2Driver());
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    EXPECT_FALSE(node.CoResize(512 << 20).ok());
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(1000, Pattern(200 << 10, 1)));
    std::vector<uint8_t> now(200 << 10);
    MILLRACE_RETURN_IF_ERROR(node.CoRead(1000, absl::MakeSpan(now)));
    EXPECT_TRUE(now == Pattern(200 << 10, 1));
    node.CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
  EXPECT_TRUE(check.ok() && check->is_clean()) << Describe(check);
}

}  // namespace
}  // namespace millrace::refcount_table_limit_test
