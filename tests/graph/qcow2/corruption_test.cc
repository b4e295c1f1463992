// Once the driver has found its metadata to be corrupt, the image takes no further write: what is
// there stays for whoever repairs it.
#include <cstdint>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/geometry.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "tests/support/qcow2_images.h"

namespace millrace::corruption_test {
namespace {

using qcow2::LoadBig;
using qcow2::StoreBig;

constexpr uint64_t kCluster = 4096;
constexpr uint64_t kClusters = 64;
constexpr uint64_t kBadCluster = 5;  // its entry points at the L1 table

qcow2::Header HeaderOf(const CrashDisk& disk) {
  return *qcow2::ParseHeader(absl::MakeConstSpan(disk.live()).first(kCluster));
}

// A closed image with ten clusters of data, one of which lies where the L1 table is.
CrashDisk LyingImage(uint32_t version) {
  CrashDisk disk =
      MakeImage({.bytes = kClusters * kCluster, .version = version, .cluster_bytes = kCluster});
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  FormatNode node(context, MakeQcow2Driver());
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    const absl::Status result = node.CoWrite(0, Pattern(10 * kCluster, 1));
    node.CoClose();
    return result;
  });
  EXPECT_TRUE(status.ok()) << status;
  const qcow2::Header header = HeaderOf(disk);
  const uint64_t l2 = LoadBig<uint64_t>(&disk.live()[header.l1_offset]) & qcow2::kEntryOffsetMask;
  StoreBig<uint64_t>(&disk.live()[l2 + 8 * kBadCluster], header.l1_offset | qcow2::kEntryCopied);
  return disk;
}

class Qcow2FoundCorrupt : public testing::TestWithParam<uint32_t> {
 protected:
  // Runs `body` on the open image.
  template <typename Body>
  void Use(Body&& body) {
    FormatNode node(context_, MakeQcow2Driver());
    const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(node.CoOpen());
      const absl::Status result = body(node);
      node.CoClose();
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
  }

  std::unique_ptr<Engine> engine_ = SimulatedEngine();
  CrashDisk disk_ = LyingImage(GetParam());
  FakeDriverContext context_{*engine_, disk_};
};

TEST_P(Qcow2FoundCorrupt, NothingIsWrittenToHealthyClustersAnyMore) {
  std::vector<uint8_t> found;
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    // Changes of the tables wait in memory.
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(20 * kCluster, Pattern(kCluster, 2)));
    MILLRACE_RETURN_IF_ERROR(node.CoDiscard(ByteRange(8 * kCluster, kCluster)));
    const std::vector<uint8_t> data = Pattern(kCluster, 3);
    EXPECT_TRUE(absl::IsDataLoss(node.CoWrite(kBadCluster * kCluster, data)));
    found = disk_.live();
    EXPECT_TRUE(absl::IsDataLoss(node.CoWrite(0, data))) << "in place";
    EXPECT_TRUE(absl::IsDataLoss(node.CoWrite(30 * kCluster, data))) << "a new cluster";
    EXPECT_TRUE(absl::IsDataLoss(node.CoWriteZeroes(ByteRange(kCluster, kCluster))));
    EXPECT_TRUE(absl::IsDataLoss(node.CoDiscard(ByteRange(2 * kCluster, kCluster))));
    EXPECT_TRUE(absl::IsDataLoss(node.CoResize(2 * kClusters * kCluster)));
    EXPECT_TRUE(absl::IsDataLoss(node.driver().CoWriteBackingReference({"base", "raw"})));
    EXPECT_TRUE(absl::IsDataLoss(node.CoFlush()));
    EXPECT_TRUE(disk_.live() == found) << "a refused request has changed the file";
    // What can be read is.
    std::vector<uint8_t> now(kCluster);
    MILLRACE_RETURN_IF_ERROR(node.CoRead(20 * kCluster, absl::MakeSpan(now)));
    EXPECT_TRUE(now == Pattern(kCluster, 2));
    return absl::OkStatus();
  });
  EXPECT_TRUE(disk_.live() == found) << "closing has changed the file";
  EXPECT_EQ(HeaderOf(disk_).is_corrupt(), GetParam() == 3) << "version 2 has no such bit";
  ASSERT_EQ(context_.warnings().size(), 1u);
}

// What was allocated before cannot be linked behind it.
TEST_P(Qcow2FoundCorrupt, AWriteInFlightIsNotLinked) {
  Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const auto earlier,
                              node.driver().CoAllocate(ByteRange(40 * kCluster, kCluster), {}));
    EXPECT_TRUE(absl::IsDataLoss(node.CoWrite(kBadCluster * kCluster, Pattern(kCluster, 3))));
    const std::vector<uint8_t> found = disk_.live();
    EXPECT_TRUE(absl::IsDataLoss(node.driver().CoLink(*earlier)));
    EXPECT_TRUE(absl::IsDataLoss(node.CoFlush()));
    EXPECT_TRUE(disk_.live() == found);
    return absl::OkStatus();
  });
}

// ---- Whoever watches over it -------------------------------------------------------------------

class Qcow2Corruptions : public Qcow2FoundCorrupt {
 protected:
  using Kind = Qcow2Corruption::Kind;

  // Puts an entry in the place of the one of this guest cluster.
  void SetEntry(uint64_t guest_cluster, uint64_t raw) {
    StoreBig<uint64_t>(&disk_.live()[Table() + 8 * guest_cluster], raw);
  }
  uint64_t Table() {
    return LoadBig<uint64_t>(&disk_.live()[HeaderOf(disk_).l1_offset]) & qcow2::kEntryOffsetMask;
  }
  // What is told while `body` uses the image.
  template <typename Body>
  std::vector<Qcow2Corruption> Watch(Body&& body) {
    std::vector<Qcow2Corruption> told;
    Qcow2OpenOptions options;
    options.on_corruption = [&told](const Qcow2Corruption& found) { told.push_back(found); };
    FormatNode node(context_, MakeQcow2Driver(options));
    const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(node.CoOpen());
      body(node);
      node.CoClose();
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    return told;
  }
  std::vector<Qcow2Corruption> WatchRead(uint64_t guest_cluster) {
    return Watch([&](FormatNode& node) MILLRACE_MAY_SUSPEND {
      std::vector<uint8_t> data(kCluster);
      for (int i = 0; i < 2; ++i) {
        EXPECT_TRUE(absl::IsDataLoss(node.CoRead(guest_cluster * kCluster, absl::MakeSpan(data))));
      }
    });
  }
};

TEST_P(Qcow2Corruptions, AreToldOnceWithTheirPlaceBeforeTheRequestFails) {
  const uint64_t l1 = HeaderOf(disk_).l1_offset;
  const std::vector<Qcow2Corruption> told = Watch([&](FormatNode& node) MILLRACE_MAY_SUSPEND {
    for (int i = 0; i < 2; ++i) {
      EXPECT_TRUE(absl::IsDataLoss(node.CoWrite(kBadCluster * kCluster, Pattern(kCluster, 3))));
    }
  });
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].kind, Kind::kOverlap);
  EXPECT_EQ(told[0].metadata, "L1 table");
  ASSERT_TRUE(told[0].file_range.has_value());
  EXPECT_EQ(told[0].file_range->offset, l1);
  EXPECT_EQ(told[0].file_range->bytes, kCluster);
  EXPECT_EQ(told[0].node, context_.node_name());
  EXPECT_TRUE(told[0].is_fatal);
}

TEST_P(Qcow2Corruptions, OfAnImageThatIsOnlyReadAreNotFatal) {
  SetEntry(3, 0x2a00);
  context_.set_read_only(true);
  const std::vector<uint8_t> before = disk_.live();
  const std::vector<Qcow2Corruption> told = WatchRead(3);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].kind, Kind::kData);
  EXPECT_EQ(told[0].host, 0x2a00u);
  EXPECT_EQ(told[0].table, Table());
  EXPECT_EQ(told[0].index, 3u);
  EXPECT_FALSE(told[0].guest_written.has_value());
  EXPECT_FALSE(told[0].is_fatal);
  EXPECT_TRUE(disk_.live() == before);
}

TEST_P(Qcow2Corruptions, OfAWriteNameTheGuestsPlace) {
  SetEntry(3, 0x2a00);
  const std::vector<Qcow2Corruption> told = Watch([&](FormatNode& node) MILLRACE_MAY_SUSPEND {
    EXPECT_TRUE(absl::IsDataLoss(node.CoWrite(3 * kCluster + 1000, Pattern(100, 3))));
  });
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].kind, Kind::kData);
  EXPECT_EQ(told[0].guest_written, 3 * kCluster + 1000);
  EXPECT_TRUE(told[0].is_fatal);
}

TEST_P(Qcow2Corruptions, OfAnL1EntryAndAZeroFlag) {
  SetEntry(3, 1);
  const bool is_old = GetParam() == 2;
  if (is_old) {
    const std::vector<Qcow2Corruption> told = WatchRead(3);
    ASSERT_EQ(told.size(), 1u);
    EXPECT_EQ(told[0].kind, Kind::kZeroFlag);
    EXPECT_EQ(told[0].index, 3u);
  }
  StoreBig<uint64_t>(&disk_.live()[HeaderOf(disk_).l1_offset], Table() + 512);
  const std::vector<Qcow2Corruption> told = WatchRead(0);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].kind, Kind::kL2Table);
  EXPECT_EQ(told[0].host % kCluster, 512u);
  EXPECT_EQ(told[0].index, 0u);
}

INSTANTIATE_TEST_SUITE_P(Versions, Qcow2Corruptions, testing::Values(2, 3));
INSTANTIATE_TEST_SUITE_P(Versions, Qcow2FoundCorrupt, testing::Values(2, 3));

}  // namespace
}  // namespace millrace::corruption_test
