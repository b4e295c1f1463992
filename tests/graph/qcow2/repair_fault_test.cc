// The fault loop over a repair: the N-th operation on the file fails while a damaged image is being
// mended, once or with all that follow, for every N. Whatever happens, the guest sees what it saw,
// the image is not worse than it was, and a repair on a disk that works ends clean.
#include <cstdint>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/geometry.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "millrace/graph/drivers/qcow2/l2_entry.h"
#include "tests/support/cancelling_file.h"
#include "tests/support/crafted_qcow2.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/seeds.h"

namespace millrace::repair_fault_test {
namespace {

using qcow2::Header;
using qcow2::LoadBig;
using qcow2::StoreBig;

constexpr uint64_t kCluster = 512;
constexpr uint64_t kDataClusters = 400;  // two refcount blocks and some L2 tables
constexpr size_t kIncompatibleAt = 72;

// A closed image with data and, if it is `left`, what a crash after a flush leaves of it.
std::vector<uint8_t> Image(Qcow2CreateOptions options = {}, bool is_left = false) {
  options.bytes = (kDataClusters + 100) * kCluster;
  options.cluster_bytes = kCluster;
  CrashDisk disk = MakeImage(options);
  std::vector<uint8_t> left;
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  FormatNode node(context, MakeQcow2Driver());
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    absl::Status result = node.CoWrite(0, Pattern(kDataClusters * kCluster, 1));
    if (result.ok()) result = node.CoFlush();
    left = disk.live();
    node.CoClose();
    return result;
  });
  EXPECT_TRUE(status.ok()) << status;
  return is_left ? left : disk.live();
}

Header HeaderOf(const std::vector<uint8_t>& image) {
  return *qcow2::ParseHeader(absl::MakeConstSpan(image).first(kCluster));
}
uint8_t* RefcountTableEntry(std::vector<uint8_t>& image, uint64_t block) {
  return &image[HeaderOf(image).refcount_table_offset + 8 * block];
}
// Of 16 bits.
uint8_t* RefcountOf(std::vector<uint8_t>& image, uint64_t cluster) {
  const uint64_t per_block = kCluster / 2;
  const uint64_t block = LoadBig<uint64_t>(RefcountTableEntry(image, cluster / per_block));
  EXPECT_NE(block, 0u);
  return &image[block + cluster % per_block * 2];
}
uint64_t L2EntryOf(const std::vector<uint8_t>& image, uint64_t guest_cluster) {
  const Header header = HeaderOf(image);
  const uint64_t guest = guest_cluster * kCluster;
  const uint64_t l1 = header.l1_offset + 8 * header.geometry.L1IndexOf(guest);
  const uint64_t l2 = LoadBig<uint64_t>(&image[l1]) & qcow2::kEntryOffsetMask;
  return l2 + 8 * header.geometry.L2IndexOf(guest);
}
uint64_t HostClusterOf(const std::vector<uint8_t>& image, uint64_t guest_cluster) {
  const uint64_t entry = LoadBig<uint64_t>(&image[L2EntryOf(image, guest_cluster)]);
  return (entry & qcow2::kEntryOffsetMask) / kCluster;
}

// ---- The damage -------------------------------------------------------------------------------

std::vector<uint8_t> Leaks() {
  std::vector<uint8_t> image = Image();
  const uint64_t end = AlignUp(image.size(), kCluster) / kCluster;
  image.resize((end + 3) * kCluster, 0xaa);
  for (uint64_t cluster = end; cluster < end + 3; ++cluster) {
    StoreBig<uint16_t>(RefcountOf(image, cluster), 1);
  }
  StoreBig<uint16_t>(RefcountOf(image, HostClusterOf(image, 3)), 5);
  return image;
}
// In blocks far from each other.
std::vector<uint8_t> ZeroedRefcounts() {
  std::vector<uint8_t> image = Image();
  for (const uint64_t guest : {0u, 7u, 399u}) {
    StoreBig<uint16_t>(RefcountOf(image, HostClusterOf(image, guest)), 0);
  }
  return image;
}
std::vector<uint8_t> WrongFlags() {
  std::vector<uint8_t> image = Image();
  for (const uint64_t guest : {2u, 200u, 398u}) image[L2EntryOf(image, guest)] &= 0x7f;
  image[HeaderOf(image).l1_offset] &= 0x7f;
  return image;
}
std::vector<uint8_t> MissingRefcountBlock() {
  std::vector<uint8_t> image = Image();
  StoreBig<uint64_t>(RefcountTableEntry(image, 0), 0);
  return image;
}
std::vector<uint8_t> RefcountBlockOutsideTheFile() {
  std::vector<uint8_t> image = Image();
  StoreBig<uint64_t>(RefcountTableEntry(image, 1), uint64_t{1} << 40);
  return image;
}
std::vector<uint8_t> MissingRefcountTable() {
  std::vector<uint8_t> image = Image();
  StoreBig<uint64_t>(&image[48], uint64_t{1} << 40);
  return image;
}
// Lazy refcounts: on disk they say nothing about what was written.
std::vector<uint8_t> LeftDirty() {
  std::vector<uint8_t> image = Image({.lazy_refcounts = true}, /*is_left=*/true);
  EXPECT_TRUE(HeaderOf(image).is_dirty());
  return image;
}
std::vector<uint8_t> MarkedCorrupt() {
  std::vector<uint8_t> image = ZeroedRefcounts();
  image[kIncompatibleAt + 7] |= qcow2::kIncompatibleCorrupt;
  return image;
}
std::vector<uint8_t> SharedWithASnapshot() {
  CraftedQcow2 crafted((CrashDisk(Image())));
  crafted.AddSnapshot("before");
  std::vector<uint8_t> image = crafted.Finish().live();
  for (const uint64_t guest : {1u, 399u}) {
    StoreBig<uint16_t>(RefcountOf(image, HostClusterOf(image, guest)), 1);
  }
  return image;
}

struct Damage {
  const char* name;
  std::vector<uint8_t> (*make)();
  Qcow2Repair repair = Qcow2Repair::kAll;
};
void PrintTo(const Damage& damage, std::ostream* out) { *out << damage.name; }

const Damage kDamages[] = {
    {"Leaks", Leaks},
    {"LeaksOnly", Leaks, Qcow2Repair::kLeaks},
    {"ZeroedRefcounts", ZeroedRefcounts},
    {"WrongFlags", WrongFlags},
    {"MissingRefcountBlock", MissingRefcountBlock},
    {"RefcountBlockOutsideTheFile", RefcountBlockOutsideTheFile},
    {"MissingRefcountTable", MissingRefcountTable},
    {"LeftDirty", LeftDirty},
    {"MarkedCorrupt", MarkedCorrupt},
    {"SharedWithASnapshot", SharedWithASnapshot},
};

// ---- The loop ---------------------------------------------------------------------------------

// What a guest sees through the tables: no driver, which may refuse a damaged image.
std::vector<uint8_t> ContentOf(const std::vector<uint8_t>& image) {
  std::vector<uint8_t> content(kDataClusters * kCluster);
  for (uint64_t guest = 0; guest < kDataClusters; ++guest) {
    const uint64_t host = HostClusterOf(image, guest) * kCluster;
    if (host == 0 || host + kCluster > image.size()) continue;
    std::copy_n(image.begin() + static_cast<ptrdiff_t>(host), kCluster,
                content.begin() + static_cast<ptrdiff_t>(guest * kCluster));
  }
  return content;
}

struct Fault {
  uint64_t at = UINT64_MAX - 1;
  bool for_ever = false;
  bool after_effect = false;
};

class Qcow2RepairFaults : public testing::TestWithParam<Damage> {
 protected:
  void SetUp() override {
    damaged_ = GetParam().make();
    CrashDisk disk(damaged_);
    before_ = CheckImage(disk);
    ASSERT_TRUE(before_.ok() && !before_->is_clean()) << Describe(before_);
    has_snapshot_ = HeaderOf(damaged_).snapshot_count > 0;
    if (has_snapshot_) snapshot_ = ContentOf(SnapshotView(disk).live());
  }

  // Repairs with a fault; returns how many operations on the file that took.
  uint64_t RepairWithFault(const Fault& fault) {
    CrashDisk disk(damaged_);
    disk.FailAt(fault.at, fault.for_ever, fault.after_effect);
    const absl::StatusOr<Qcow2CheckResult> failed = CheckImage(disk, GetParam().repair);
    const uint64_t operations = disk.operations();
    disk.FailNever();
    EXPECT_EQ(failed.ok(), fault.at >= operations) << "a failure went unnoticed";
    ExpectNotWorse(disk);
    // What failed can be done again.
    const absl::StatusOr<Qcow2CheckResult> repaired = CheckImage(disk, GetParam().repair);
    EXPECT_TRUE(repaired.ok() && repaired->is_clean_now()) << Describe(repaired);
    const absl::StatusOr<Qcow2CheckResult> check = CheckImage(disk);
    EXPECT_TRUE(check.ok() && check->is_clean()) << Describe(check);
    ExpectSameContent(disk);
    const Header header = HeaderOf(disk.live());
    EXPECT_FALSE(header.is_dirty() || header.is_corrupt());
    return operations;
  }

  void ExpectSameContent(const CrashDisk& disk) {
    EXPECT_TRUE(ContentOf(disk.live()) == Pattern(kDataClusters * kCluster, 1));
    if (has_snapshot_) {
      EXPECT_TRUE(ContentOf(SnapshotView(disk).live()) == snapshot_);
    }
  }

  void ExpectNotWorse(CrashDisk& disk) {
    ExpectSameContent(disk);
    const absl::StatusOr<Qcow2CheckResult> now = CheckImage(disk);
    ASSERT_TRUE(now.ok()) << Describe(now);
    EXPECT_LE(now->corruptions, before_->corruptions) << Describe(now);
    // Nobody opens it as sound before it is.
    const Header then = HeaderOf(damaged_);
    const Header header = HeaderOf(disk.live());
    const bool lost_its_mark =
        (then.is_dirty() && !header.is_dirty()) || (then.is_corrupt() && !header.is_corrupt());
    EXPECT_TRUE(!lost_its_mark || now->is_clean()) << Describe(now);
  }

  void Loop(Fault fault) {
    fault.at = UINT64_MAX - 1;
    const uint64_t count = RepairWithFault(fault);
    ASSERT_GT(count, 10u);
    for (fault.at = 0; fault.at < count && !HasFailure(); fault.at += CaseStride()) {
      SCOPED_TRACE(StrCat("number ", fault.at, " of ", count, " fails"));
      RepairWithFault(fault);
    }
  }

  std::vector<uint8_t> damaged_;
  absl::StatusOr<Qcow2CheckResult> before_ = absl::UnknownError("not checked");
  bool has_snapshot_ = false;
  std::vector<uint8_t> snapshot_;
};

TEST_P(Qcow2RepairFaults, TheNthOperationFailsAndASecondRepairEndsClean) { Loop({}); }
TEST_P(Qcow2RepairFaults, TheNthOperationFailsAfterItsEffectAndASecondRepairEndsClean) {
  Loop({.after_effect = true});
}
TEST_P(Qcow2RepairFaults, FromTheNthOperationOnAllFailAndASecondRepairEndsClean) {
  Loop({.for_ever = true});
}
TEST_P(Qcow2RepairFaults, FromTheNthOperationOnAllFailAfterTheirEffectAndASecondRepairEndsClean) {
  Loop({.for_ever = true, .after_effect = true});
}
INSTANTIATE_TEST_SUITE_P(Damages, Qcow2RepairFaults, testing::ValuesIn(kDamages),
                         [](const auto& each) { return std::string(each.param.name); });

// ---- Interrupts ---------------------------------------------------------------------------------

// Somebody cancels it at the N-th operation: it was not begun, or it was done.
TEST_P(Qcow2RepairFaults, ACancelledRepairHasChangedNothingOrIsDone) {
  uint64_t unchanged = 0;
  uint64_t repaired = 0;
  for (uint64_t at = 0; !HasFailure(); at += CaseStride()) {
    SCOPED_TRACE(StrCat("cancelled at ", at));
    CrashDisk disk(damaged_);
    CancellingFile file(disk, at);
    const absl::Status status = file.Run([&]() MILLRACE_MAY_SUSPEND {
      return CoCheckQcow2(file, {.repair = GetParam().repair, .is_cancellable = true}).status();
    });
    if (!file.has_cancelled()) break;
    ExpectNotWorse(disk);
    if (status.message().find("it was not changed") != std::string::npos) {
      ++unchanged;
      EXPECT_TRUE(disk.live() == damaged_);
    } else if (!status.ok()) {
      ++repaired;
      EXPECT_NE(status.message().find("cancelled after the repair"), std::string::npos) << status;
      EXPECT_TRUE(CheckImage(disk)->is_clean()) << Describe(CheckImage(disk));
    }
    EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
    EXPECT_TRUE(CheckImage(disk, GetParam().repair)->is_clean_now());
  }
  EXPECT_GT(unchanged, 0u);
  EXPECT_GT(repaired, 0u);
}

// ---- Crashes ----------------------------------------------------------------------------------

// The same when the machine stops, at any moment, with any part of what was not flushed lost.
TEST_P(Qcow2RepairFaults, ACrashMeanwhileIsMendedByASecondRepair) {
  CrashDisk disk(damaged_);
  disk.RecordEvents();
  ASSERT_TRUE(CheckImage(disk, GetParam().repair).ok());
  ASSERT_GT(disk.event_count(), 0u);
  RandomStream random(1);
  for (int i = 0; i < 40 && !HasFailure(); ++i) {
    const uint64_t events = random.Below(disk.event_count() + 1);
    SCOPED_TRACE(StrCat("crash ", i, " after ", events, " of ", disk.event_count(), " events"));
    CrashDisk crashed(disk.CrashImage(events, random));
    ExpectNotWorse(crashed);
    const absl::StatusOr<Qcow2CheckResult> repaired = CheckImage(crashed, GetParam().repair);
    EXPECT_TRUE(repaired.ok() && repaired->is_clean_now()) << Describe(repaired);
    ExpectSameContent(crashed);
  }
}

}  // namespace
}  // namespace millrace::repair_fault_test
