// Small images whose tables refer to each other so often that following every reference would take
// hours: a check reads each of them a few times, and ends.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/sparse_image.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/geometry.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "millrace/graph/drivers/qcow2/l2_entry.h"
#include "tests/support/image_examiner.h"
#include "tests/support/qcow2_images.h"

namespace millrace::hostile_check_test {
namespace {

using qcow2::Header;
using qcow2::StoreBig;

// Counts what is read; with too much of it, reads fail.
class CountingFile final : public ImageFile {
 public:
  explicit CountingFile(SparseImage& image) : image_(image), file_(image) {}
  std::string_view name() const override { return "img"; }
  uint64_t bytes() const override { return file_.bytes(); }
  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND {
    read_bytes += target.bytes();
    if (++reads > kReadsMax || read_bytes > kReadBytesMax) {
      return absl::UnavailableError("the check does not end");
    }
    return file_.CoRead(offset, target);
  }
  absl::Status CoWrite(uint64_t offset, const IoVector& source) override MILLRACE_MAY_SUSPEND {
    ++writes;
    return file_.CoWrite(offset, source);
  }
  absl::Status CoWriteZeroes(ByteRange range) override MILLRACE_MAY_SUSPEND {
    ++writes;
    return file_.CoWriteZeroes(range);
  }
  absl::Status CoDiscard(ByteRange) override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  absl::Status CoResize(uint64_t bytes) override MILLRACE_MAY_SUSPEND {
    image_.Resize(bytes);
    return absl::OkStatus();
  }

  uint64_t reads = 0;
  uint64_t read_bytes = 0;
  uint64_t writes = 0;

 private:
  static constexpr uint64_t kReadsMax = 200'000;
  static constexpr uint64_t kReadBytesMax = uint64_t{1} << 30;
  SparseImage& image_;
  SparseImageFile file_;
};

class SharedTables : public testing::Test {
 protected:
  static constexpr uint64_t kCluster = 65536;

  void Make(const Qcow2CreateOptions& options) {
    const CrashDisk disk = MakeImage(options);
    Write(0, disk.live());
    header_ = *qcow2::ParseHeader(disk.live());
  }
  void Write(uint64_t offset, const std::vector<uint8_t>& bytes) {
    image_.Write(offset, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  template <typename Value>
  void Set(uint64_t offset, std::type_identity_t<Value> value) {
    std::vector<uint8_t> bytes(sizeof(Value));
    StoreBig<Value>(bytes.data(), value);
    Write(offset, bytes);
  }
  // Where the next piece of the file may go, which is of so many bytes; holes at first.
  uint64_t Append(uint64_t bytes) {
    const uint64_t place = AlignUp(image_.bytes(), kCluster);
    image_.Resize(AlignUp(place + bytes, kCluster));
    return place;
  }
  absl::StatusOr<Qcow2CheckResult> Check(Qcow2Repair repair = Qcow2Repair::kNone) {
    CountingFile file(image_);
    auto engine = SimulatedEngine();
    absl::StatusOr<Qcow2CheckResult> result = absl::UnknownError("the check did not run");
    (void)engine->Run(
        [&]() MILLRACE_MAY_SUSPEND { result = CoCheckQcow2(file, {.repair = repair}); });
    read_bytes_ = file.read_bytes;
    writes_ = file.writes;
    return result;
  }

  SparseImage image_;
  Header header_;
  uint64_t read_bytes_ = 0;  // by the last check
  uint64_t writes_ = 0;
};

TEST_F(SharedTables, BitmapsThatAllClaimOneTableAreRefused) {
  constexpr uint32_t kBitmaps = 65535;
  constexpr uint32_t kEntries = 300'000;
  Make({.bytes = 1 << 20});
  const uint64_t table = Append(kEntries * 8);
  std::vector<uint8_t> directory(uint64_t{kBitmaps} * 32);
  for (uint64_t i = 0; i < directory.size(); i += 32) {
    StoreBig<uint64_t>(&directory[i], table);
    StoreBig<uint32_t>(&directory[i + 8], kEntries);
    directory[i + 16] = 1;   // a dirty bitmap
    directory[i + 17] = 16;  // granularity
    StoreBig<uint16_t>(&directory[i + 18], 1);
    directory[i + 24] = 'b';
  }
  const uint64_t place = Append(directory.size());
  Write(place, directory);
  std::vector<uint8_t> extension(24);
  StoreBig<uint32_t>(extension.data(), kBitmaps);
  StoreBig<uint64_t>(&extension[8], directory.size());
  StoreBig<uint64_t>(&extension[16], place);
  header_.extensions.push_back({qcow2::kExtensionBitmaps, extension});
  header_.autoclear_features |= qcow2::kAutoclearBitmaps;
  header_.incompatible_features |= qcow2::kIncompatibleDirty;
  Write(0, qcow2::SerialiseHeader(header_)->start);
  // The second is what opening it for writing does first.
  for (const Qcow2Repair repair : {Qcow2Repair::kNone, Qcow2Repair::kAll}) {
    const absl::Status status = Check(repair).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_LT(read_bytes_, qcow2::kL1BytesMax + 10 * image_.bytes());
    EXPECT_EQ(writes_, 0u);
  }
}

TEST_F(SharedTables, SnapshotsThatAllClaimOneTableAreRefused) {
  constexpr uint32_t kSnapshots = qcow2::kSnapshotCountMax;
  constexpr uint64_t kL1Bytes = 4 << 20;
  Make({.bytes = 1 << 20});
  const uint64_t l1 = Append(kL1Bytes);  // a hole
  std::vector<uint8_t> table(uint64_t{kSnapshots} * 64);
  for (uint64_t i = 0; i < table.size(); i += 64) {
    StoreBig<uint64_t>(&table[i], l1);
    StoreBig<uint32_t>(&table[i + 8], kL1Bytes / 8);
    StoreBig<uint16_t>(&table[i + 12], 1);
    StoreBig<uint16_t>(&table[i + 14], 1);
    StoreBig<uint32_t>(&table[i + 36], 16);
    table[i + 56] = '1';
    table[i + 57] = 's';
  }
  const uint64_t place = Append(table.size());
  Write(place, table);
  Set<uint32_t>(60, kSnapshots);
  Set<uint64_t>(64, place);
  const absl::Status status = Check().status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_LT(read_bytes_, qcow2::kL1BytesMax + 10 * image_.bytes());
}

TEST_F(SharedTables, AnL2TableOfManyL1EntriesIsReadOnceAndCountedForEach) {
  constexpr uint64_t kTables = 16384;
  constexpr uint64_t kTableGuestBytes = kCluster / 8 * kCluster;
  Make({.bytes = kTables * kTableGuestBytes});
  const uint64_t l2 = Append(kCluster);
  const uint64_t data = Append(kCluster);
  for (uint64_t i = 0; i < kTables; ++i) Set<uint64_t>(header_.l1_offset + 8 * i, l2);
  Set<uint64_t>(l2, data);
  char block[8];
  image_.Read(header_.refcount_table_offset, {block, 8});
  const auto refcounts = qcow2::LoadBig<uint64_t>(reinterpret_cast<const uint8_t*>(block));
  for (const uint64_t place : {l2, data}) Set<uint16_t>(refcounts + place / kCluster * 2, kTables);
  const absl::StatusOr<Qcow2CheckResult> check = Check();
  ASSERT_TRUE(check.ok() && check->is_clean()) << Describe(check);
  EXPECT_EQ(check->allocated_clusters, kTables);
  EXPECT_LT(read_bytes_, 10 * image_.bytes());

  Set<uint16_t>(refcounts + data / kCluster * 2, kTables - 1);
  const absl::StatusOr<Qcow2CheckResult> less = Check();
  ASSERT_TRUE(less.ok()) << less.status();
  EXPECT_EQ(less->corruptions, 1u) << Describe(less);

  // What is wrong in it is wrong for each.
  Set<uint64_t>(l2 + 8, data | 1 << 9);
  const absl::StatusOr<Qcow2CheckResult> broken = Check();
  ASSERT_TRUE(broken.ok()) << broken.status();
  EXPECT_EQ(broken->corruptions, kTables + 1) << Describe(broken);
}

// 64 MiB of refcount blocks for clusters that are not there.
TEST_F(SharedTables, RefcountsBehindTheEndOfTheFileAreNotRead) {
  constexpr uint64_t kBlocks = 1024;
  Make({.bytes = 1 << 20});
  const uint64_t blocks = Append(kBlocks * kCluster);
  for (uint64_t i = 1; i < kBlocks; ++i) {
    Set<uint64_t>(header_.refcount_table_offset + 8 * i, blocks + i * kCluster);
  }
  const absl::StatusOr<Qcow2CheckResult> check = Check();
  ASSERT_TRUE(check.ok()) << check.status();
  EXPECT_LT(read_bytes_, 2 << 20);
}

}  // namespace
}  // namespace millrace::hostile_check_test
