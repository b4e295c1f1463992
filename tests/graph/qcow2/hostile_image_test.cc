// Images that lie: every field of the header and every kind of table entry, one at a time. Each is
// refused, or fails cleanly at the access, and never brings anything else down.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "millrace/graph/drivers/qcow2/qcow2_info.h"
#include "tests/support/crafted_qcow2.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/seeds.h"

namespace millrace::hostile_image_test {
namespace {

using qcow2::Header;
using qcow2::LoadBig;
using qcow2::StoreBig;

constexpr uint64_t kCluster = 4096;

// What became of one image.
struct Outcome {
  absl::Status open;
  absl::Status read;   // of all of it
  absl::Status write;  // of one sector in each cluster, in order, to the first error
  absl::Status flush;
  bool is_marked_corrupt = false;
};

class Image {
 public:
  explicit Image(Qcow2CreateOptions options) : disk_(MakeImage(options)) {}
  explicit Image(CrashDisk disk) : disk_(std::move(disk)) {}

  std::vector<uint8_t>& bytes() { return disk_.live(); }
  CrashDisk& disk() { return disk_; }
  Header header() { return *qcow2::ParseHeader(absl::MakeConstSpan(bytes()).first(kCluster)); }
  template <typename Value>
  void Set(uint64_t offset, std::type_identity_t<Value> value) {
    StoreBig<Value>(&bytes()[offset], value);
  }
  uint64_t Get(uint64_t offset) { return LoadBig<uint64_t>(&bytes()[offset]); }
  uint64_t l1(uint64_t index = 0) { return header().l1_offset + 8 * index; }
  uint64_t l2(uint64_t index = 0) { return (Get(l1()) & qcow2::kEntryOffsetMask) + 8 * index; }
  uint64_t refcount_block() { return Get(header().refcount_table_offset); }

  // An extension that counts one bitmap more than is possible, and no other.
  void SetTooManyBitmaps() {
    std::fill_n(bytes().begin() + 112, 1024, uint8_t{0});
    Set<uint32_t>(112, qcow2::kExtensionBitmaps);
    Set<uint32_t>(116, 24);
    Set<uint32_t>(120, 65536);
  }
  void Fill(uint64_t offset, uint64_t bytes) {
    auto engine = SimulatedEngine();
    FakeDriverContext context(*engine, disk_);
    FormatNode node(context, MakeQcow2Driver());
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(node.CoOpen());
      const absl::Status written = node.CoWrite(offset, Pattern(bytes, 1));
      node.CoClose();
      return written;
    });
    ASSERT_TRUE(status.ok()) << status;
  }

  // All that a guest sees.
  std::vector<uint8_t> Read() {
    auto engine = SimulatedEngine();
    FakeDriverContext context(*engine, disk_);
    context.set_read_only(true);
    FormatNode node(context, MakeQcow2Driver());
    std::vector<uint8_t> content;
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(node.CoOpen());
      content.resize(node.driver().bytes());
      absl::Status read = node.CoRead(0, absl::MakeSpan(content));
      node.CoClose();
      return read;
    });
    EXPECT_TRUE(status.ok()) << status;
    return content;
  }

  Outcome Use(bool read_only = false) {
    auto engine = SimulatedEngine();
    FakeDriverContext context(*engine, disk_);
    context.set_read_only(read_only);
    FormatNode node(context, MakeQcow2Driver());
    Outcome outcome;
    (void)engine->Run([&]() MILLRACE_MAY_SUSPEND {
      outcome.open = node.CoOpen();
      if (outcome.open.ok()) CoUse(node, read_only, outcome);
      node.CoClose();
    });
    outcome.is_marked_corrupt = bytes().size() > 79 && (bytes()[79] & 2) != 0;
    return outcome;
  }

 private:
  static void CoUse(FormatNode& node, bool read_only, Outcome& outcome) MILLRACE_MAY_SUSPEND {
    const uint64_t bytes = std::min<uint64_t>(node.driver().bytes(), 1 << 20);
    std::vector<uint8_t> content(bytes);
    outcome.read = node.CoRead(0, absl::MakeSpan(content));
    if (read_only) return;
    const std::vector<uint8_t> sector(512, 0x77);
    for (uint64_t offset = 0; offset + 512 <= bytes && outcome.write.ok(); offset += kCluster) {
      outcome.write = node.CoWrite(offset, sector);
    }
    outcome.flush = node.CoFlush();
  }

  CrashDisk disk_;
};

Image Golden(uint32_t version = 3) {
  Image image({.bytes = 256 * kCluster, .version = version, .cluster_bytes = kCluster});
  image.Fill(0, 8 * kCluster);
  return image;
}

enum class Expect { kRefused, kUnsupported, kOpens, kReadFails, kWriteFails };

struct HostileCase {
  const char* name;
  Expect expect;
  std::function<void(Image&)> patch;
  uint32_t version = 3;
};

void PrintTo(const HostileCase& test, std::ostream* out) { *out << test.name; }

const HostileCase kHeaderCases[] = {
    {"BadMagic", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(0, 0x514649fa); }},
    {"Version0", Expect::kUnsupported, [](Image& i) { i.Set<uint32_t>(4, 0); }},
    {"Version1", Expect::kUnsupported, [](Image& i) { i.Set<uint32_t>(4, 1); }},
    {"Version4", Expect::kUnsupported, [](Image& i) { i.Set<uint32_t>(4, 4); }},
    {"VersionMax", Expect::kUnsupported, [](Image& i) { i.Set<uint32_t>(4, 0xffffffff); }},
    {"ClusterBits0", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(20, 0); }},
    {"ClusterBits8", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(20, 8); }},
    {"ClusterBits22", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(20, 22); }},
    {"ClusterBits63", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(20, 63); }},
    {"ClusterBitsMax", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(20, 0xffffffff); }},
    {"HeaderLengthBeyondCluster", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(100, 4104); }},
    {"HeaderLengthHuge", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(100, 0x7fffffff); }},
    {"HeaderLengthMax", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(100, 0xffffffff); }},
    {"HeaderLengthUnaligned", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(100, 109); }},
    {"HeaderLengthShort", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(100, 96); }},
    {"IncompatibleBit5", Expect::kUnsupported, [](Image& i) { i.Set<uint64_t>(72, 1 << 5); }},
    {"IncompatibleBit63", Expect::kUnsupported,
     [](Image& i) { i.Set<uint64_t>(72, uint64_t{1} << 63); }},
    {"CompatibleUnknown", Expect::kOpens, [](Image& i) { i.Set<uint64_t>(80, 1 << 9); }},
    {"AutoclearUnknown", Expect::kOpens, [](Image& i) { i.Set<uint64_t>(88, 1 << 9); }},
    {"RawDataFileBitWithoutDataFile", Expect::kRefused, [](Image& i) { i.Set<uint64_t>(88, 2); }},
    {"RefcountOrder7", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(96, 7); }},
    {"RefcountOrder255", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(96, 255); }},
    {"Size0", Expect::kOpens, [](Image& i) { i.Set<uint64_t>(24, 0); }},
    {"SizeOdd", Expect::kOpens, [](Image& i) { i.Set<uint64_t>(24, 1001); }},
    {"SizeSignedMax", Expect::kRefused, [](Image& i) { i.Set<uint64_t>(24, ~uint64_t{0} >> 1); }},
    {"SizeMax", Expect::kRefused, [](Image& i) { i.Set<uint64_t>(24, ~uint64_t{0}); }},
    {"SizeAboveL1", Expect::kRefused, [](Image& i) { i.Set<uint64_t>(24, 1 << 30); }},
    {"L1EntriesHuge", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(36, 0x7fffffff); }},
    {"L1EntriesMax", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(36, 0xffffffff); }},
    {"L1Entries0", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(36, 0); }},
    {"L1BeyondEnd", Expect::kRefused, [](Image& i) { i.Set<uint64_t>(40, 1 << 30); }},
    {"L1Unaligned", Expect::kRefused, [](Image& i) { i.Set<uint64_t>(40, i.Get(40) + 8); }},
    {"L1OffsetHuge", Expect::kRefused, [](Image& i) { i.Set<uint64_t>(40, uint64_t{1} << 63); }},
    {"L1OffsetWraps", Expect::kRefused, [](Image& i) { i.Set<uint64_t>(40, ~uint64_t{0} - 4095); }},
    {"L1AtHeader", Expect::kRefused, [](Image& i) { i.Set<uint64_t>(40, 0); }},
    {"L1InRefcountTable", Expect::kWriteFails,
     [](Image& i) { i.Set<uint64_t>(40, i.header().refcount_table_offset); }},
    {"RefcountTableNone", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(56, 0); }},
    {"RefcountTableHuge", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(56, 0xffffffff); }},
    {"RefcountTableAbove8MiB", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(56, 2049); }},
    {"RefcountTableAt0", Expect::kRefused, [](Image& i) { i.Set<uint64_t>(48, 0); }},
    {"RefcountTableUnaligned", Expect::kRefused, [](Image& i) { i.Set<uint64_t>(48, 4097); }},
    {"RefcountTableBeyondEnd", Expect::kRefused,
     [](Image& i) { i.Set<uint64_t>(48, uint64_t{1} << 50); }},
    {"SnapshotsTooMany", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(60, 65537); }},
    {"SnapshotsHuge", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(60, 0x7fffffff); }},
    {"SnapshotsMax", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(60, 0xffffffff); }},
    {"SnapshotsAtHeader", Expect::kRefused, [](Image& i) { i.Set<uint32_t>(60, 1); }},
    {"BackingBeyondCluster", Expect::kRefused,
     [](Image& i) { i.Set<uint64_t>(8, 4097), i.Set<uint32_t>(16, 1); }},
    {"BackingOffsetMax", Expect::kRefused,
     [](Image& i) { i.Set<uint64_t>(8, ~uint64_t{0}), i.Set<uint32_t>(16, 5); }},
    {"BackingSize1024", Expect::kRefused,
     [](Image& i) { i.Set<uint64_t>(8, 1000), i.Set<uint32_t>(16, 1024); }},
    {"BackingSizeMax", Expect::kRefused,
     [](Image& i) { i.Set<uint64_t>(8, 1000), i.Set<uint32_t>(16, 0xffffffff); }},
    {"BackingOffsetMaxWithoutName", Expect::kRefused,
     [](Image& i) { i.Set<uint64_t>(8, ~uint64_t{0}); }},
    {"BackingOffsetBehindClusterWithoutName", Expect::kRefused,
     [](Image& i) { i.Set<uint64_t>(8, 4097); }},
    {"BackingSize0", Expect::kOpens, [](Image& i) { i.Set<uint64_t>(8, 1000); }},
    {"BackingInHeader", Expect::kRefused,
     [](Image& i) { i.Set<uint64_t>(8, 8), i.Set<uint32_t>(16, 8); }},
    {"BackingWithNul", Expect::kRefused,
     [](Image& i) { i.Set<uint64_t>(8, 2000), i.Set<uint32_t>(16, 4); }},
    {"EncryptionAes", Expect::kUnsupported, [](Image& i) { i.Set<uint32_t>(32, 1); }},
    {"EncryptionLuks", Expect::kUnsupported, [](Image& i) { i.Set<uint32_t>(32, 2); }},
    {"EncryptionUnknown", Expect::kUnsupported, [](Image& i) { i.Set<uint32_t>(32, 3); }},
    {"DataFile", Expect::kUnsupported, [](Image& i) { i.Set<uint64_t>(72, 4); }},
    {"CompressionTypeWithoutBit", Expect::kRefused, [](Image& i) { i.bytes()[104] = 1; }},
    {"CompressionBitWithoutType", Expect::kRefused, [](Image& i) { i.Set<uint64_t>(72, 8); }},
    {"CompressionTypeUnknown", Expect::kUnsupported,
     [](Image& i) { i.Set<uint64_t>(72, 8), i.bytes()[104] = 2; }},
    {"ExtendedL2WithSmallClusters", Expect::kRefused, [](Image& i) { i.Set<uint64_t>(72, 16); }},
    {"ExtensionTooLong", Expect::kRefused,
     [](Image& i) { i.Set<uint32_t>(112, 0x1234), i.Set<uint32_t>(116, 0xfffffff0); }},
    {"BitmapsWithoutExtension", Expect::kOpens, [](Image& i) { i.Set<uint64_t>(88, 1); }},
    {"BitmapsTooMany", Expect::kRefused,
     [](Image& i) {
       i.Set<uint64_t>(88, 1);
       i.SetTooManyBitmaps();
     }},
    {"BitmapsIgnoredWithoutTheBit", Expect::kOpens, [](Image& i) { i.SetTooManyBitmaps(); }},
    {"CorruptBit", Expect::kRefused, [](Image& i) { i.Set<uint64_t>(72, 2); }},
    {"L1EntryReserved", Expect::kReadFails,
     [](Image& i) { i.Set<uint64_t>(i.l1(), i.Get(i.l1()) | 1); }},
    {"L1EntryUnaligned", Expect::kReadFails,
     [](Image& i) { i.Set<uint64_t>(i.l1(), i.Get(i.l1()) + 512); }},
    {"L2BeyondEnd", Expect::kReadFails,
     [](Image& i) { i.Set<uint64_t>(i.l1(), qcow2::kEntryCopied | 1 << 30); }},
    {"L2IsTheL1", Expect::kWriteFails,
     [](Image& i) { i.Set<uint64_t>(i.l1(), qcow2::kEntryCopied | i.header().l1_offset); }},
    {"L2IsTheRefcountBlock", Expect::kWriteFails,
     [](Image& i) { i.Set<uint64_t>(i.l1(), qcow2::kEntryCopied | i.refcount_block()); }},
    {"DataUnaligned", Expect::kReadFails,
     [](Image& i) { i.Set<uint64_t>(i.l2(2), i.Get(i.l2(2)) + 1024); }},
    {"DataReservedBit", Expect::kReadFails,
     [](Image& i) { i.Set<uint64_t>(i.l2(2), i.Get(i.l2(2)) | 4); }},
    {"DataBeyondEnd", Expect::kReadFails,
     [](Image& i) { i.Set<uint64_t>(i.l2(2), qcow2::kEntryCopied | uint64_t{1} << 55); }},
    {"DataAtOffset0IsNone", Expect::kOpens, [](Image& i) { i.Set<uint64_t>(i.l2(2), 0); }},
    {"DataIsTheL1", Expect::kWriteFails,
     [](Image& i) { i.Set<uint64_t>(i.l2(2), qcow2::kEntryCopied | i.header().l1_offset); }},
    {"DataIsTheRefcountBlock", Expect::kWriteFails,
     [](Image& i) { i.Set<uint64_t>(i.l2(2), qcow2::kEntryCopied | i.refcount_block()); }},
    {"DataIsItsL2Table", Expect::kWriteFails,
     [](Image& i) { i.Set<uint64_t>(i.l2(2), i.Get(i.l1())); }},
    {"ZeroFlagInVersion2", Expect::kReadFails, [](Image& i) { i.Set<uint64_t>(i.l2(2), 1); }, 2},
    {"CompressedBeyondEnd", Expect::kReadFails,
     [](Image& i) { i.Set<uint64_t>(i.l2(2), uint64_t{1} << 62 | 1 << 30); }},
    {"CompressedGarbage", Expect::kReadFails,
     [](Image& i) { i.Set<uint64_t>(i.l2(2), uint64_t{1} << 62 | uint64_t{7} << 58 | 100); }},
    {"RefcountBlockUnaligned", Expect::kWriteFails,
     [](Image& i) { i.Set<uint64_t>(i.header().refcount_table_offset, i.refcount_block() + 512); }},
    {"RefcountBlockBeyondEnd", Expect::kWriteFails,
     [](Image& i) { i.Set<uint64_t>(i.header().refcount_table_offset, 1 << 30); }},
    {"RefcountBlockMissing", Expect::kWriteFails,
     [](Image& i) { i.Set<uint64_t>(i.header().refcount_table_offset, 0); }},
    {"AllRefcounts0", Expect::kWriteFails,
     [](Image& i) {
       const uint64_t block = i.refcount_block();
       std::fill_n(i.bytes().begin() + static_cast<ptrdiff_t>(block), kCluster, uint8_t{0});
     }},
};

class Qcow2Hostile : public testing::TestWithParam<HostileCase> {};

TEST_P(Qcow2Hostile, IsRefusedOrFailsCleanly) {
  const HostileCase& test = GetParam();
  Image image = Golden(test.version);
  test.patch(image);
  const std::vector<uint8_t> before = image.bytes();
  Image for_reading = image;
  const Outcome read_only = for_reading.Use(/*read_only=*/true);
  EXPECT_EQ(for_reading.bytes(), before) << "a read-only open wrote";
  const Outcome outcome = image.Use();
  switch (test.expect) {
    case Expect::kRefused:
      EXPECT_TRUE(absl::IsInvalidArgument(outcome.open) || absl::IsFailedPrecondition(outcome.open))
          << outcome.open;
      EXPECT_EQ(image.bytes(), before) << "a refused image was written to";
      break;
    case Expect::kUnsupported:
      EXPECT_TRUE(absl::IsUnimplemented(outcome.open)) << outcome.open;
      EXPECT_EQ(image.bytes(), before) << "a refused image was written to";
      break;
    case Expect::kOpens:
      EXPECT_TRUE(outcome.open.ok()) << outcome.open;
      EXPECT_TRUE(outcome.read.ok()) << outcome.read;
      EXPECT_TRUE(outcome.write.ok()) << outcome.write;
      break;
    case Expect::kReadFails:
      EXPECT_TRUE(read_only.open.ok()) << read_only.open;
      EXPECT_TRUE(absl::IsDataLoss(read_only.read)) << read_only.read;
      EXPECT_TRUE(absl::IsDataLoss(outcome.read)) << outcome.read;
      break;
    case Expect::kWriteFails:
      EXPECT_TRUE(outcome.open.ok()) << outcome.open;
      EXPECT_TRUE(absl::IsDataLoss(outcome.write)) << outcome.write;
      EXPECT_TRUE(outcome.is_marked_corrupt);
      break;
  }
  // Whatever it is, describing and checking it ends.
  (void)CheckImage(image.disk());
  (void)CheckImage(image.disk(), Qcow2Repair::kAll);
}

INSTANTIATE_TEST_SUITE_P(Fields, Qcow2Hostile, testing::ValuesIn(kHeaderCases),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(Qcow2HostileImage, UnknownAutoclearBitsAreClearedByTheFirstWrite) {
  Image image = Golden();
  image.Set<uint64_t>(88, 1 << 9);
  const Outcome outcome = image.Use();
  ASSERT_TRUE(outcome.write.ok()) << outcome.write;
  EXPECT_EQ(image.Get(88), 0u);
}

TEST(Qcow2HostileImage, ACorruptImageOpensReadOnly) {
  Image image = Golden();
  image.Set<uint64_t>(72, 2);
  const Outcome outcome = image.Use(/*read_only=*/true);
  EXPECT_TRUE(outcome.open.ok() && outcome.read.ok()) << outcome.open;
}

TEST(Qcow2HostileImage, ADirtyImageIsRepairedByAWritableOpen) {
  Image image = Golden();
  image.Set<uint64_t>(72, 1);
  image.Set<uint16_t>(image.refcount_block() + 2 * 6, 0);
  const Outcome outcome = image.Use();
  EXPECT_TRUE(outcome.open.ok() && outcome.write.ok()) << outcome.open << outcome.write;
  EXPECT_EQ(image.Get(72), 0u);
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(image.disk());
  EXPECT_TRUE(check.ok() && check->is_clean()) << Describe(check);
}

TEST(Qcow2HostileImage, RepairMendsMissingRefcountStructures) {
  Image image = Golden();
  image.Set<uint64_t>(image.header().refcount_table_offset, 512);
  const absl::StatusOr<Qcow2CheckResult> repaired = CheckImage(image.disk(), Qcow2Repair::kAll);
  ASSERT_TRUE(repaired.ok()) << repaired.status();
  EXPECT_GT(repaired->corruptions, 0u);
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(image.disk());
  EXPECT_TRUE(check.ok() && check->is_clean()) << Describe(check);
}

// What is written where it is must not be anything else, however well the refcounts fit: found by
// the fuzzer, whose image had its L1 table for an L2 table too.
TEST(Qcow2HostileImage, ATableThatIsGuestDataAsWellIsACorruption) {
  Image golden = Golden();
  for (const bool is_l1 : {true, false}) {
    SCOPED_TRACE(is_l1 ? "L1 table" : "refcount table");
    Image image = golden;
    const uint64_t table = is_l1 ? image.header().l1_offset : image.header().refcount_table_offset;
    const uint64_t old_data = image.Get(image.l2(1)) & qcow2::kEntryOffsetMask;
    image.Set<uint64_t>(image.l2(1), table);  // not to be written there, and counted
    image.Set<uint16_t>(image.refcount_block() + 2 * (table / kCluster), 2);
    image.Set<uint16_t>(image.refcount_block() + 2 * (old_data / kCluster), 0);
    const absl::StatusOr<Qcow2CheckResult> check = CheckImage(image.disk());
    ASSERT_TRUE(check.ok()) << check.status();
    EXPECT_EQ(check->corruptions, 1u) << Describe(check);
    EXPECT_EQ(check->leaks, 0u) << Describe(check);
    // A new refcount table can be made elsewhere; an L1 table cannot be told from data.
    const absl::StatusOr<Qcow2CheckResult> repaired = CheckImage(image.disk(), Qcow2Repair::kAll);
    ASSERT_TRUE(repaired.ok()) << repaired.status();
    EXPECT_EQ(repaired->corruptions_fixed > 0, !is_l1) << Describe(repaired);
    const absl::StatusOr<Qcow2CheckResult> after = CheckImage(image.disk());
    ASSERT_TRUE(after.ok()) << after.status();
    EXPECT_EQ(after->is_clean(), !is_l1) << Describe(after);
  }
}

// As QEMU: what the refcounts say about clusters that the file does not have costs nobody space.
TEST(Qcow2HostileImage, ARefcountBehindTheEndOfTheFileIsNoLeak) {
  Image image = Golden();
  image.Set<uint16_t>(image.refcount_block() + 2 * 200, 3);
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(image.disk());
  EXPECT_TRUE(check.ok() && check->is_clean()) << Describe(check);
}

// Two uses where a refcount has one bit: nothing that could be written says so.
TEST(Qcow2HostileImage, MoreUsesThanARefcountCanCountAreNotRepaired) {
  Image image({.bytes = 64 * 512, .cluster_bytes = 512, .refcount_bits = 1});
  image.Fill(0, 2048);
  const uint64_t freed = (image.Get(image.l2(1)) & qcow2::kEntryOffsetMask) / 512;
  image.Set<uint64_t>(image.l2(1), image.Get(image.l2(0)));
  const absl::StatusOr<Qcow2CheckResult> repaired = CheckImage(image.disk(), Qcow2Repair::kAll);
  ASSERT_TRUE(repaired.ok()) << repaired.status();
  EXPECT_FALSE(repaired->is_clean_now()) << Describe(repaired);
  EXPECT_EQ(repaired->leaks_fixed, 1u) << "cluster " << freed << ": " << Describe(repaired);
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(image.disk());
  ASSERT_TRUE(check.ok()) << check.status();
  EXPECT_THAT(check->findings, testing::Contains(testing::HasSubstr("has refcount 1 and 2 uses")));
}

TEST(Qcow2HostileImage, RepairOfLeaksLeavesCorruptionsAlone) {
  Image image = Golden();
  image.bytes().resize(201 * kCluster);
  image.Set<uint16_t>(image.refcount_block() + 2 * 200, 3);
  image.Set<uint16_t>(image.refcount_block() + 2 * 6, 0);
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(image.disk(), Qcow2Repair::kLeaks);
  ASSERT_TRUE(check.ok()) << check.status();
  EXPECT_EQ(check->leaks, 1u);
  EXPECT_EQ(check->leaks_fixed, 1u);
  EXPECT_GT(check->corruptions, 0u);
  EXPECT_EQ(check->corruptions_fixed, 0u);
}

// One of each kind, a few guest clusters written in each.
std::vector<Image> GoldenImages() {
  std::vector<Image> images = {Golden(2), Golden(3)};
  const Qcow2CreateOptions small{.bytes = 64 * 512, .cluster_bytes = 512};
  for (const bool has_snapshot : {true, false}) {
    Image image(small);
    image.Fill(0, 2048);
    CraftedQcow2 crafted(image.disk());
    if (has_snapshot) {
      crafted.AddSnapshot("before");
      crafted.Compress(2, std::vector<uint8_t>(512, 'c'));
    } else {
      crafted.AddBitmaps();
    }
    images.emplace_back(crafted.Finish());
  }
  Image wide({.bytes = 8 * 16384, .cluster_bytes = 16384, .refcount_bits = 1, .extended_l2 = true});
  wide.Fill(512, 16384);
  images.push_back(std::move(wide));
  return images;
}

// Every length of the file around every sector boundary.
TEST(Qcow2HostileImage, ATruncatedImageNeverBringsAnythingDown) {
  for (Image& golden : GoldenImages()) {
    const uint64_t whole = golden.bytes().size();
    ASSERT_TRUE(Image(golden).Use().open.ok());
    for (uint64_t sector = 0; sector <= whole; sector += 512) {
      for (uint64_t bytes : {sector - 1, sector, sector + 1}) {
        if (bytes > whole) continue;
        Image image = golden;
        image.bytes().resize(bytes);
        Image for_check = image;
        (void)image.Use();
        (void)CheckImage(for_check.disk(), Qcow2Repair::kAll);
      }
    }
  }
}

// What repair calls clean, the next look calls clean.
void UseWithFlip(const Image& golden, uint64_t position, uint8_t flip) {
  Image image = golden;
  image.bytes()[position] ^= flip;
  Image for_check = image;
  (void)image.Use();
  const absl::StatusOr<Qcow2CheckResult> repaired = CheckImage(for_check.disk(), Qcow2Repair::kAll);
  if (!repaired.ok() || !repaired->is_clean_now()) return;
  const absl::StatusOr<Qcow2CheckResult> check = CheckImage(for_check.disk());
  ASSERT_TRUE(check.ok() && check->is_clean()) << "byte " << position << ": " << Describe(check);
}

// Every single byte of header and tables, changed in two ways.
TEST(Qcow2HostileImage, AFlippedByteNeverBringsAnythingDown) {
  Image golden({.bytes = 64 * 512, .cluster_bytes = 512});
  golden.Fill(0, 2048);
  // Header, refcount table, refcount block, L1 and L2 table come first, one cluster each.
  for (uint64_t position = 0; position < 5 * 512; ++position) {
    const uint8_t one_bit = position % 2 == 0 ? 0x80 : 0x01;
    for (uint8_t flip : {uint8_t{0xff}, one_bit}) UseWithFlip(golden, position, flip);
  }
}

// The same of images that have more to get wrong: every byte of a snapshot's table and tables, of
// bitmaps, of compressed data; of larger ones the start of each sector.
TEST(Qcow2HostileImage, AFlippedByteOfAnyKindOfImageNeverBringsAnythingDown) {
  for (const Image& image : GoldenImages()) {
    Image golden = image;
    const uint64_t whole = golden.bytes().size();
    const uint64_t stride = whole > 16384 ? 128 : 1;
    for (uint64_t position = 0; position < whole; position += stride * CaseStride()) {
      UseWithFlip(golden, position, position % 2 == 0 ? 0xff : 0x01);
    }
  }
}

// A flip in the guest's bytes is read as that byte, and as nothing else.
TEST(Qcow2HostileImage, AFlippedByteOfTheGuestsIsOneOtherByte) {
  Image golden({.bytes = 64 * 512, .cluster_bytes = 512});
  golden.Fill(0, 2048);
  const std::vector<uint8_t> model = golden.Read();
  for (uint64_t guest = 0; guest < 2048; ++guest) {
    Image image = golden;
    const uint64_t entry = image.Get(image.l2(guest / 512));
    image.bytes()[(entry & qcow2::kEntryOffsetMask) + guest % 512] ^= 0x40;
    std::vector<uint8_t> expected = model;
    expected[guest] ^= 0x40;
    ASSERT_EQ(image.Read(), expected) << "byte " << guest;
  }
}

}  // namespace
}  // namespace millrace::hostile_image_test
