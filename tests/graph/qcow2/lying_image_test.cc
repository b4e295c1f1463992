// Images whose mapping points at their own metadata: whoever lets go of such a mapping must not
// give the metadata back with it. The request is refused, the image is marked corrupt, and what the
// entry pointed at stays as it is and where it is.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "tests/support/qcow2_images.h"

namespace millrace::lying_image_test {
namespace {

using qcow2::Header;
using qcow2::LoadBig;
using qcow2::StoreBig;

constexpr uint64_t kCluster = 4096;
constexpr uint64_t kClusters = 1024;  // two L2 tables
constexpr uint64_t kLyingCluster = 2;
constexpr uint64_t kTableBytes = kCluster / 8 * kCluster;  // guest bytes of an L2 table

class LyingImage {
 public:
  // The first eight clusters are written.
  explicit LyingImage(uint32_t version = 3)
      : disk_(MakeImage(
            {.bytes = kClusters * kCluster, .version = version, .cluster_bytes = kCluster})) {
    EXPECT_TRUE(Use([](FormatNode& node) MILLRACE_MAY_SUSPEND {
                  return node.CoWrite(0, Pattern(8 * kCluster, 1));
                }).ok());
  }

  CrashDisk& disk() { return disk_; }
  std::vector<uint8_t>& bytes() { return disk_.live(); }
  uint64_t Get(uint64_t offset) { return LoadBig<uint64_t>(&bytes()[offset]); }
  void Set(uint64_t offset, uint64_t value) { StoreBig<uint64_t>(&bytes()[offset], value); }
  Header header() { return *qcow2::ParseHeader(absl::MakeConstSpan(bytes()).first(kCluster)); }
  uint64_t l1() { return header().l1_offset; }
  uint64_t l2() { return Get(l1()) & qcow2::kEntryOffsetMask; }
  uint64_t l2_entry(uint64_t cluster) { return l2() + 8 * cluster; }
  uint64_t refcount_table() { return header().refcount_table_offset; }
  uint64_t refcount_block() { return Get(refcount_table()); }
  uint32_t RefcountOf(uint64_t block, uint64_t offset) {
    return LoadBig<uint16_t>(&bytes()[block + 2 * (offset / kCluster)]);
  }
  void SetRefcount(uint64_t offset, uint16_t refcount) {
    StoreBig<uint16_t>(&bytes()[refcount_block() + 2 * (offset / kCluster)], refcount);
  }
  std::vector<uint8_t> ClusterAt(uint64_t offset) {
    const auto begin = bytes().begin() + static_cast<ptrdiff_t>(offset);
    return {begin, begin + static_cast<ptrdiff_t>(kCluster)};
  }
  bool is_marked_corrupt() { return (bytes()[79] & 2) != 0; }

  // Opens it, runs `body(node)` and closes it; what `body` returned.
  template <typename Body>
  absl::Status Use(Body&& body) {
    auto engine = SimulatedEngine();
    FakeDriverContext context(*engine, disk_);
    FormatNode node(context, MakeQcow2Driver());
    return engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      absl::Status status = node.CoOpen();
      if (status.ok()) status = body(node);
      node.CoClose();
      return status;
    });
  }

 private:
  CrashDisk disk_;
};

// As copying jobs write: many clusters, linked in one step.
absl::Status CoWriteBatch(FormatNode& node, ByteRange range) MILLRACE_MAY_SUSPEND {
  const ByteRange ranges[] = {range};
  MILLRACE_ASSIGN_OR_RETURN(const std::unique_ptr<BatchAllocation> batch,
                            node.driver().CoAllocateBatch(ranges, {}));
  EXPECT_NE(batch, nullptr);
  return batch == nullptr ? absl::OkStatus() : node.driver().CoLinkBatch(*batch);
}

// Fills clusters from `cluster` on, which has nothing yet, and flushes after each of them: one
// makes a change of the tables written, the next one makes it durable, and what it let go of is
// free.
absl::Status CoFlushed(FormatNode& node, uint64_t cluster, uint64_t count) MILLRACE_MAY_SUSPEND {
  for (uint64_t i = 0; i < count; ++i) {
    MILLRACE_RETURN_IF_ERROR(node.CoWrite((cluster + i) * kCluster, Pattern(kCluster, 9)));
    MILLRACE_RETURN_IF_ERROR(node.CoFlush());
  }
  return absl::OkStatus();
}

struct LettingGo {
  const char* name;
  absl::Status (*run)(FormatNode& node);
  bool reads = false;  // the rest of the cluster, which nobody can read who believes the lie
};

const LettingGo kWays[] = {
    {"Overwrite",
     [](FormatNode& node) MILLRACE_MAY_SUSPEND {
       return node.CoWrite(kLyingCluster * kCluster, Pattern(kCluster, 2));
     }},
    {"OverwriteOfAPart",
     [](FormatNode& node) MILLRACE_MAY_SUSPEND {
       return node.CoWrite(kLyingCluster * kCluster + 512, Pattern(512, 2));
     },
     /*reads=*/true},
    {"OverwriteOfMany",
     [](FormatNode& node)
         MILLRACE_MAY_SUSPEND { return node.CoWrite(0, Pattern(8 * kCluster, 2)); }},
    {"Batch", [](FormatNode& node)
                  MILLRACE_MAY_SUSPEND { return CoWriteBatch(node, ByteRange(0, 8 * kCluster)); }},
    {"Discard", [](FormatNode& node)
                    MILLRACE_MAY_SUSPEND { return node.CoDiscard(ByteRange(0, 8 * kCluster)); }},
    {"Zeroes", [](FormatNode& node)
                   MILLRACE_MAY_SUSPEND { return node.CoWriteZeroes(ByteRange(0, 8 * kCluster)); }},
    {"Shrink", [](FormatNode& node) MILLRACE_MAY_SUSPEND { return node.CoResize(kCluster); }},
};

class Qcow2Lying : public testing::TestWithParam<LettingGo> {
 protected:
  // An entry `lie` for the lying cluster; the cluster at `target` must stay what it is, with the
  // refcount it has.
  void ExpectRefused(LyingImage image, uint64_t lie, uint64_t target) {
    const uint64_t entry = image.l2_entry(kLyingCluster);
    image.Set(entry, lie);
    const std::vector<uint8_t> before = image.ClusterAt(target);
    const uint64_t block = image.refcount_block();
    const uint32_t refcount = image.RefcountOf(block, target);
    const absl::Status status = image.Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND {
      const absl::Status result = GetParam().run(node);
      // Whatever has been let go of is given back, and used by others.
      if (result.ok()) (void)CoFlushed(node, 8, 16);
      return result;
    });
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    const bool is_compressed = (lie & uint64_t{1} << 62) != 0;
    EXPECT_TRUE(image.is_marked_corrupt() || (is_compressed && GetParam().reads));
    EXPECT_EQ(image.RefcountOf(block, target), refcount);
    std::vector<uint8_t> after = image.ClusterAt(target);
    if (target == 0) after[79] = before[79];  // marked corrupt
    EXPECT_TRUE(after == before) << "the metadata has changed";
    EXPECT_EQ(image.Get(entry), lie) << "nobody can tell any more";
    // A check still reads it, and says so.
    const absl::StatusOr<Qcow2CheckResult> check = CheckImage(image.disk());
    EXPECT_TRUE(check.ok() && check->corruptions > 0) << Describe(check);
    const absl::StatusOr<Qcow2CheckResult> repaired = CheckImage(image.disk(), Qcow2Repair::kAll);
    EXPECT_TRUE(repaired.ok() && repaired->corruptions > 0) << Describe(repaired);
  }
};

TEST_P(Qcow2Lying, DataThatAreTheL1TableKeepIt) {
  LyingImage image;
  ExpectRefused(image, image.l1(), image.l1());
}
TEST_P(Qcow2Lying, DataThatAreAnL2TableKeepIt) {
  LyingImage image;
  ExpectRefused(image, image.l2(), image.l2());
}
TEST_P(Qcow2Lying, DataThatAreTheRefcountTableKeepIt) {
  LyingImage image;
  ExpectRefused(image, image.refcount_table(), image.refcount_table());
}
TEST_P(Qcow2Lying, DataThatAreARefcountBlockKeepIt) {
  LyingImage image;
  ExpectRefused(image, image.refcount_block(), image.refcount_block());
}
// The refcount says that it is in use twice, as it is.
TEST_P(Qcow2Lying, DataThatAreCountedAsATableKeepItToo) {
  LyingImage image;
  image.SetRefcount(image.l1(), 2);
  ExpectRefused(image, image.l1(), image.l1());
}
TEST_P(Qcow2Lying, CompressedDataInTheHeaderKeepIt) {
  ExpectRefused(LyingImage(), uint64_t{1} << 62 | 512, 0);
}
// They begin in front of it.
TEST_P(Qcow2Lying, CompressedDataThatReachIntoATableKeepIt) {
  LyingImage image;
  constexpr uint64_t kSectorsBehindTheFirst = uint64_t{7} << 58;
  ExpectRefused(image, uint64_t{1} << 62 | kSectorsBehindTheFirst | (image.l1() - 100), image.l1());
}

INSTANTIATE_TEST_SUITE_P(Ways, Qcow2Lying, testing::ValuesIn(kWays),
                         [](const auto& each) { return std::string(each.param.name); });

// ---- Two entries for one cluster that is counted once ---------------------------------------------

// The cluster is given back for the first entry, and an L2 table by the time the second one goes.
class Qcow2SharedUncounted : public testing::Test {
 protected:
  static constexpr uint64_t kFirst = 2;
  static constexpr uint64_t kSecond = 5;

  void SetUp() override {
    shared_ = image_.Get(image_.l2_entry(kFirst)) & qcow2::kEntryOffsetMask;
    image_.Set(image_.l2_entry(kFirst), shared_);
    image_.Set(image_.l2_entry(kSecond), shared_);
  }
  absl::Status CoDiscard(FormatNode& node, uint64_t cluster) MILLRACE_MAY_SUSPEND {
    return node.CoDiscard(ByteRange(cluster * kCluster, kCluster));
  }
  // Makes an L2 table, which lies where the shared cluster was.
  absl::Status CoMakeTable(FormatNode& node) MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(kTableBytes, Pattern(512, 4)));
    MILLRACE_RETURN_IF_ERROR(node.CoFlush());
    EXPECT_EQ(image_.Get(image_.l1() + 8), shared_ | qcow2::kEntryCopied) << "not what is tested";
    return absl::OkStatus();
  }
  // The table is where the shared cluster was, whole and counted.
  void ExpectTableKept() {
    EXPECT_TRUE(image_.is_marked_corrupt());
    EXPECT_EQ(image_.RefcountOf(image_.refcount_block(), shared_), 1u);
    EXPECT_EQ(image_.Get(image_.l1() + 8), shared_ | qcow2::kEntryCopied);
    EXPECT_NE(image_.Get(shared_), 0u);
    EXPECT_EQ(image_.Get(shared_ + 8), 0u) << "the table was discarded";
  }

  LyingImage image_;
  uint64_t shared_ = 0;
};

TEST_F(Qcow2SharedUncounted, ATableThatLiesThereMeanwhileIsNotGivenBack) {
  const absl::Status status = image_.Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(CoDiscard(node, kFirst));
    MILLRACE_RETURN_IF_ERROR(CoFlushed(node, 8, 2));
    MILLRACE_RETURN_IF_ERROR(CoMakeTable(node));
    return CoDiscard(node, kSecond);
  });
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  ExpectTableKept();
}

// Both entries are gone before the table is made, so only giving back can notice.
TEST_F(Qcow2SharedUncounted, ATableMadeBetweenTheTwoIsNotGivenBack) {
  const absl::Status status = image_.Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(CoDiscard(node, kFirst));
    MILLRACE_RETURN_IF_ERROR(CoFlushed(node, 8, 1));
    MILLRACE_RETURN_IF_ERROR(CoDiscard(node, kSecond));
    MILLRACE_RETURN_IF_ERROR(CoFlushed(node, 9, 1));
    MILLRACE_RETURN_IF_ERROR(CoMakeTable(node));
    return CoFlushed(node, 10, 3);
  });
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  ExpectTableKept();
}

// ---- Two L1 entries for one table that is counted once --------------------------------------------

// The first write through either copies the table, and lets go of it; the other entry keeps it.
TEST(Qcow2LyingL1, ATableThatAnotherEntryUsesIsNotGivenBack) {
  LyingImage image;
  const uint64_t table = image.l2();
  image.Set(image.l1(), table);
  image.Set(image.l1() + 8, table);
  const std::vector<uint8_t> before = image.ClusterAt(table);
  const absl::Status status = image.Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(8 * kCluster, Pattern(512, 2)));
    return CoFlushed(node, 9, 16);
  });
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_TRUE(image.is_marked_corrupt());
  EXPECT_EQ(image.Get(image.l1() + 8), table);
  EXPECT_TRUE(image.ClusterAt(table) == before) << "the table has changed";
}

// What a snapshot, or another entry, shares by right is let go of by each in its turn.
TEST(Qcow2LyingL1, ATableThatIsCountedForEachIsGivenBackByTheLast) {
  LyingImage image;
  const uint64_t table = image.l2();
  const uint64_t block = image.refcount_block();
  image.Set(image.l1(), table);
  image.Set(image.l1() + 8, table);
  for (uint64_t cluster = 0; cluster < 8; ++cluster) {
    const uint64_t data = image.Get(image.l2_entry(cluster)) & qcow2::kEntryOffsetMask;
    image.Set(image.l2_entry(cluster), data);
    image.SetRefcount(data, 2);
  }
  image.SetRefcount(table, 2);
  const absl::Status status = image.Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(CoFlushed(node, 8, 4));
    EXPECT_EQ(image.RefcountOf(block, table), 1u);
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(kTableBytes + 8 * kCluster, Pattern(512, 2)));
    return CoFlushed(node, 12, 4);
  });
  EXPECT_TRUE(status.ok()) << status;
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(image.disk());
  EXPECT_TRUE(check.ok() && check->corruptions == 0 && check->leaks == 0) << Describe(check);
}

// ---- A table without entries ----------------------------------------------------------------------

// Its place means nothing, and what lies there is not the L1 table's to forget when it grows.
TEST(Qcow2EmptyL1, GrowingProtectsWhatLiesWhereTheTableIsSaidToBe) {
  for (const bool is_header : {true, false}) {
    SCOPED_TRACE(is_header ? "header" : "refcount block");
    CrashDisk disk = MakeImage({.bytes = 0, .cluster_bytes = kCluster});
    const uint64_t table = LoadBig<uint64_t>(&disk.live()[48]);
    const uint64_t place = is_header ? 0 : LoadBig<uint64_t>(&disk.live()[table]);
    StoreBig<uint32_t>(&disk.live()[36], 0);
    StoreBig<uint64_t>(&disk.live()[40], place);
    // Free by its refcount: only the knowledge that it is metadata protects it.
    const uint64_t block = LoadBig<uint64_t>(&disk.live()[table]);
    StoreBig<uint16_t>(&disk.live()[block + 2 * (place / kCluster)], 0);
    auto engine = SimulatedEngine();
    FakeDriverContext context(*engine, disk);
    FormatNode node(context, MakeQcow2Driver());
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(node.CoOpen());
      // The new table is of two clusters, and the one that lies about itself is not large enough.
      absl::Status result = node.CoResize(uint64_t{2} << 30);
      EXPECT_TRUE(result.ok()) << result;
      if (result.ok()) result = node.CoWrite(0, Pattern(64 * kCluster, 7));
      if (result.ok()) result = node.CoFlush();
      node.CoClose();
      return result;
    });
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_EQ(disk.live()[79] & 2, 2) << "not marked corrupt";
    EXPECT_EQ(LoadBig<uint32_t>(disk.live().data()), qcow2::kMagic);
  }
}

}  // namespace
}  // namespace millrace::lying_image_test
