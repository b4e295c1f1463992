// Clusters that no refcount block counts, because the refcount table does not name it: a check
// tells of each that is in use, wherever in the table the gap is, and a repair closes it.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "tests/support/qcow2_images.h"

namespace millrace::check_uncovered_test {
namespace {

using qcow2::LoadBig;
using qcow2::StoreBig;

constexpr uint64_t kCluster = 512;
constexpr uint64_t kPerBlock = 64;  // refcounts of 64 bits

class Uncovered : public testing::TestWithParam<std::vector<uint64_t>> {};

TEST_P(Uncovered, ClustersInUseAreToldAndCountedAgain) {
  CrashDisk disk = MakeImage({.bytes = 512 * kCluster,
                              .cluster_bytes = kCluster,
                              .refcount_bits = 64,
                              .preallocation = Qcow2Preallocation::kMetadata});
  const auto before = CheckImage(disk);
  ASSERT_TRUE(before.ok() && before->is_clean()) << Describe(before);
  const uint64_t clusters = disk.live().size() / kCluster;
  const std::vector<uint64_t>& lost = GetParam();
  ASSERT_GE(clusters / kPerBlock, lost.back());

  const auto header = *qcow2::ParseHeader(disk.live());
  std::vector<uint64_t> blocks;  // the clusters of those that are lost: in use no more
  for (const uint64_t block : lost) {
    uint8_t* entry = &disk.live()[header.refcount_table_offset + 8 * block];
    blocks.push_back(LoadBig<uint64_t>(entry) / kCluster);
    StoreBig<uint64_t>(entry, 0);
  }
  std::vector<std::string> expected;
  for (const uint64_t block : lost) {
    const uint64_t end = std::min((block + 1) * kPerBlock, clusters);
    for (uint64_t cluster = block * kPerBlock; cluster < end; ++cluster) {
      if (std::find(blocks.begin(), blocks.end(), cluster) != blocks.end()) continue;
      expected.push_back(StrCat("cluster ", cluster, " has no refcount and 1 uses"));
    }
  }
  const auto found = CheckImage(disk, Qcow2Repair::kAll);
  ASSERT_TRUE(found.ok()) << found.status();
  std::vector<std::string> told;
  for (const std::string& finding : found->findings) {
    if (finding.find("has no refcount") != std::string::npos) told.push_back(finding);
  }
  ASSERT_FALSE(told.empty());
  EXPECT_GE(found->corruptions, expected.size());
  expected.resize(std::min(expected.size(), told.size()));  // the list is not for ever
  EXPECT_EQ(told, expected);
  const auto after = CheckImage(disk);
  EXPECT_TRUE(after.ok() && after->is_clean()) << Describe(after);
}

INSTANTIATE_TEST_SUITE_P(Gaps, Uncovered,
                         testing::ValuesIn(std::vector<std::vector<uint64_t>>{
                             {0}, {1}, {7}, {8}, {3, 4}, {2, 6}}));

}  // namespace
}  // namespace millrace::check_uncovered_test
