// The cluster in which an image ends, when it grows: what lies behind the end in it must not show,
// and what others share must not be zeroed for it.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "tests/support/crafted_qcow2.h"
#include "tests/support/qcow2_images.h"

namespace millrace::last_cluster_test {
namespace {

using qcow2::LoadBig;
using qcow2::StoreBig;

constexpr uint64_t kCluster = 4096;
constexpr uint64_t kFull = 4 * kCluster;
constexpr uint64_t kCut = 3 * kCluster + 1000;  // inside the last cluster

class LastCluster : public testing::Test {
 protected:
  template <typename Body>
  absl::Status Use(Body&& body) {
    auto engine = SimulatedEngine();
    FakeDriverContext context(*engine, disk_);
    FormatNode node(context, MakeQcow2Driver(), backing_);
    return engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      absl::Status status = node.CoOpen();
      if (status.ok()) status = body(node);
      node.CoClose();
      return status;
    });
  }
  // A closed image, written from end to end.
  void Create(const Qcow2CreateOptions& options) {
    disk_ = MakeImage(options);
    content_ = Pattern(options.bytes, 1);
    Require(Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND { return node.CoWrite(0, content_); }));
  }
  void AddSnapshot() {
    CraftedQcow2 image(std::move(disk_));
    image.AddSnapshot("before");
    disk_ = image.Finish();
    snapshot_ = SnapshotContent();
  }
  std::vector<uint8_t> SnapshotContent() {
    CrashDisk now = disk_;
    disk_ = SnapshotView(now);
    std::vector<uint8_t> content = Content();
    disk_ = std::move(now);
    return content;
  }
  std::vector<uint8_t> Content() {
    std::vector<uint8_t> content;
    Require(Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND {
      content.resize(node.driver().bytes());
      return node.CoRead(0, absl::MakeSpan(content));
    }));
    return content;
  }
  absl::Status Resize(uint64_t bytes) {
    return Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND { return node.CoResize(bytes); });
  }
  void ExpectZeroesBehind(uint64_t cut) {
    std::vector<uint8_t> wanted = content_;
    std::fill(wanted.begin() + static_cast<ptrdiff_t>(cut), wanted.end(), uint8_t{0});
    EXPECT_TRUE(Content() == wanted);
  }
  void ExpectClean() {
    const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk_);
    EXPECT_TRUE(check.ok() && check->is_clean()) << Describe(check);
  }
  static void Require(const absl::Status& status) { ASSERT_TRUE(status.ok()) << status; }

  uint64_t L2Entry(uint64_t cluster) {
    const uint64_t l1 = LoadBig<uint64_t>(&disk_.live()[40]);
    return (LoadBig<uint64_t>(&disk_.live()[l1]) & qcow2::kEntryOffsetMask) + 8 * cluster;
  }

  CrashDisk disk_;
  std::vector<uint8_t> backing_;
  std::vector<uint8_t> content_;
  std::vector<uint8_t> snapshot_;
};

TEST_F(LastCluster, ThatASnapshotSharesIsNotZeroedForTheSakeOfGrowing) {
  Create({.bytes = kFull, .cluster_bytes = kCluster});
  AddSnapshot();
  ASSERT_EQ(snapshot_, content_);
  Require(Resize(kCut));
  Require(Resize(kFull));
  EXPECT_TRUE(SnapshotContent() == snapshot_);
  ExpectZeroesBehind(kCut);
  ExpectClean();
}

// Subclusters that have nothing of their own, or are zeroes, stay so.
TEST_F(LastCluster, OfSubclustersThatASnapshotSharesKeepsThem) {
  constexpr uint64_t kLarge = 16384;
  constexpr uint64_t kSub = 512;
  backing_ = Pattern(kLarge, 5);
  disk_ = MakeImage({.bytes = kLarge,
                     .cluster_bytes = kLarge,
                     .extended_l2 = true,
                     .backing_filename = "base",
                     .backing_format = "raw"});
  content_ = backing_;
  Require(Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(0, Pattern(4 * kSub, 2)));
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(20 * kSub, Pattern(12 * kSub, 3)));
    return node.CoWriteZeroes(ByteRange(8 * kSub, 2 * kSub));
  }));
  content_ = Content();
  AddSnapshot();
  Require(Resize(25 * kSub + 100));
  Require(Resize(kLarge));
  EXPECT_TRUE(SnapshotContent() == snapshot_);
  ExpectZeroesBehind(25 * kSub + 100);
  ExpectClean();
}

TEST_F(LastCluster, ThatIsCompressedDoesNotShowAgainWhatWasCutOff) {
  for (const uint32_t version : {2u, 3u}) {
    Create({.bytes = kFull, .version = version, .cluster_bytes = kCluster});
    CraftedQcow2 image(std::move(disk_));
    const std::vector<uint8_t> text(kCluster, 'a');
    image.Compress(3, text);
    disk_ = image.Finish();
    std::copy(text.begin(), text.end(), content_.begin() + 3 * kCluster);
    Require(Resize(kCut));
    Require(Resize(kFull));
    ExpectZeroesBehind(kCut);
    ExpectClean();
  }
}

// The header with the new size must not be on disk before the table with the new cluster.
TEST_F(LastCluster, ThatIsSharedShowsNothingOldAfterACrashEither) {
  Create({.bytes = kFull, .cluster_bytes = kCluster});
  AddSnapshot();
  Require(Resize(kCut));
  disk_.RecordEvents();
  Require(Resize(kFull));
  RandomStream random(1);
  std::vector<std::vector<uint8_t>> crashed;
  for (int i = 0; i < 300; ++i) {
    crashed.push_back(disk_.CrashImage(random.Below(disk_.event_count() + 1), random));
  }
  bool has_seen_old = false, has_seen_new = false;
  for (std::vector<uint8_t>& image : crashed) {
    disk_ = CrashDisk(std::move(image));
    const bool is_new = LoadBig<uint64_t>(&disk_.live()[24]) == kFull;
    (is_new ? has_seen_new : has_seen_old) = true;
    if (is_new) ExpectZeroesBehind(kCut);
    EXPECT_TRUE(SnapshotContent() == snapshot_);
    const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk_);
    EXPECT_TRUE(check.ok() && check->corruptions == 0) << Describe(check);
    if (HasFailure()) return;
  }
  EXPECT_TRUE(has_seen_old && has_seen_new);
}

TEST_F(LastCluster, ThatIsSharedAndReadsAsZeroesBehindTheEndAlreadyStaysShared) {
  Create({.bytes = kCut, .cluster_bytes = kCluster});
  AddSnapshot();
  const uint64_t entry = LoadBig<uint64_t>(&disk_.live()[L2Entry(3)]);
  Require(Resize(kFull));
  content_.resize(kFull);
  ExpectZeroesBehind(kCut);
  EXPECT_EQ(LoadBig<uint64_t>(&disk_.live()[L2Entry(3)]), entry);
  ExpectClean();
}

// Neither zeroed in place nor given back.
TEST_F(LastCluster, ThatIsMetadataIsRefused) {
  for (const uint64_t flags : {qcow2::kEntryCopied, uint64_t{0}}) {
    SCOPED_TRACE(flags != 0 ? "in place" : "shared");
    Create({.bytes = kCut, .cluster_bytes = kCluster});
    const uint64_t l1 = LoadBig<uint64_t>(&disk_.live()[40]);
    std::fill_n(disk_.live().begin() + static_cast<ptrdiff_t>(l1 + 2048), 2048, uint8_t{0xee});
    StoreBig<uint64_t>(&disk_.live()[L2Entry(3)], l1 | flags);
    const std::vector<uint8_t> before = disk_.live();
    const absl::Status status = Resize(kFull);
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_EQ(disk_.live()[79] & 2, 2) << "not marked corrupt";
    EXPECT_TRUE(std::equal(before.begin() + static_cast<ptrdiff_t>(l1),
                           before.begin() + static_cast<ptrdiff_t>(l1 + kCluster),
                           disk_.live().begin() + static_cast<ptrdiff_t>(l1)));
  }
}

// ---- Requests that end where the image ended when they came ---------------------------------------

// Something a guest did after the image had grown is not undone by an older request that goes on.
class OldEnd : public LastCluster, public testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    disk_ = MakeImage({.bytes = kOld, .cluster_bytes = kLarge, .extended_l2 = GetParam()});
    content_ = Pattern(2 * kLarge, 1);
    Require(Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(node.CoResize(2 * kLarge));
      return node.CoWrite(0, content_);
    }));
  }
  static constexpr uint64_t kLarge = 16384;
  static constexpr uint64_t kOld = kLarge + 8500;  // inside a subcluster
};

TEST_P(OldEnd, ZeroesDoNotReachBehindTheirRange) {
  for (const ZeroFlags flags :
       {ZeroFlags{}, ZeroFlags{.may_unmap = false}, ZeroFlags{.only_if_unallocated = true}}) {
    absl::Status status;
    Require(Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND {
      status = node.driver().CoWriteZeroes(ByteRange(kLarge, kOld - kLarge), flags);
      return absl::OkStatus();
    }));
    EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
    const std::vector<uint8_t> now = Content();
    EXPECT_TRUE(std::equal(now.begin() + kOld, now.end(), content_.begin() + kOld));
  }
}

TEST_P(OldEnd, DiscardDoesNotReachBehindItsRange) {
  Require(Use([&](FormatNode& node)
                  MILLRACE_MAY_SUSPEND { return node.driver().CoDiscard(ByteRange(0, kOld)); }));
  const std::vector<uint8_t> now = Content();
  EXPECT_TRUE(std::equal(now.begin() + kOld, now.end(), content_.begin() + kOld));
  EXPECT_EQ(now[0], 0) << "the whole cluster before it is discarded";
}

// All of it is zero or discarded if the image still ends there.
TEST_P(OldEnd, IsTheEndOfTheClusterWhileItStands) {
  for (const bool is_discard : {true, false}) {
    SetUp();
    Require(Resize(kOld));
    Require(Use([&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
      const ByteRange range(0, kOld);
      MILLRACE_RETURN_IF_ERROR(is_discard ? node.driver().CoDiscard(range)
                                          : node.driver().CoWriteZeroes(range, {}));
      MILLRACE_ASSIGN_OR_RETURN(const Extent extent, node.driver().CoMap(range));
      EXPECT_EQ(extent.kind, ExtentKind::kZero);
      EXPECT_EQ(extent.bytes, kOld);
      return absl::OkStatus();
    }));
    ExpectClean();
  }
}

INSTANTIATE_TEST_SUITE_P(Subclusters, OldEnd, testing::Bool());

}  // namespace
}  // namespace millrace::last_cluster_test
