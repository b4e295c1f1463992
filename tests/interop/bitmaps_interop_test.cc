// Persistent bitmaps made by `qemu-img bitmap`: described as QEMU describes them, kept byte for
// byte by those who only read, and after a change true or marked as not to be trusted.
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "millrace/graph/drivers/qcow2/qcow2_info.h"
#include "tests/support/crafted_qcow2.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/qemu_tools.h"

namespace millrace::bitmaps_interop_test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr uint64_t kBytes = 4 << 20;

class BitmapsInterop : public testing::Test {
 protected:
  // "recording" has bits of two writes; "kept" too, and records no more.
  void SetUp() override {
    if (!HasQemuTools()) GTEST_SKIP() << "qemu-utils is not installed";
    Run({"qemu-img", "create", "-q", "-f", "qcow2", path_, std::to_string(kBytes)});
    Run({"qemu-img", "bitmap", "--add", "-g", "32k", path_, "recording"});
    Run({"qemu-img", "bitmap", "--add", "-g", "64k", path_, "kept"});
    Run({"qemu-io", "-f", "qcow2", "-c", "write -P 1 0 64k", "-c", "write -P 2 1M 4k", path_});
    Run({"qemu-img", "bitmap", "--disable", path_, "kept"});
  }
  void Run(const std::vector<std::string>& command) {
    const absl::StatusOr<std::string> said = RunTool(command);
    ASSERT_TRUE(said.ok()) << said.status();
  }
  CrashDisk Disk() const { return CrashDisk(ReadFile(path_)); }

  // Opens the disk and hands it to `body`.
  template <typename Body>
  static void Use(CrashDisk& disk, bool is_read_only, Body body) {
    auto engine = SimulatedEngine();
    FakeDriverContext context(*engine, disk);
    context.set_read_only(is_read_only);
    FormatNode node(context, MakeQcow2Driver());
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(node.CoOpen());
      const absl::Status result = body(node);
      node.CoClose();
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
  }
  static std::vector<Qcow2BitmapInfo> Described(CrashDisk& disk) {
    DiskFile file(disk);
    auto engine = SimulatedEngine();
    std::vector<Qcow2BitmapInfo> bitmaps;
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(const Qcow2Info info, CoReadQcow2Info(file));
      bitmaps = info.bitmaps;
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    return bitmaps;
  }
  // As QEMU: copying the bits of `name` into a new bitmap of the image.
  absl::Status QemuMerges(const std::string& name) const {
    const std::string copy = StrCat("of-", name);
    MILLRACE_RETURN_IF_ERROR(
        RunTool({"qemu-img", "bitmap", "--add", "-g", "64k", path_, copy}).status());
    return RunTool({"qemu-img", "bitmap", "--merge", name, path_, copy}).status();
  }

  const TemporaryFolder folder_;
  const std::string path_ = folder_.File("image.qcow2");
};

TEST_F(BitmapsInterop, AreDescribedAsQemuDescribesThem) {
  CrashDisk disk = Disk();
  const std::vector<Qcow2BitmapInfo> bitmaps = Described(disk);
  ASSERT_THAT(bitmaps, SizeIs(2));
  EXPECT_EQ(bitmaps[0].name, "recording");
  EXPECT_EQ(bitmaps[0].granularity_bytes, 32768u);
  EXPECT_TRUE(bitmaps[0].is_recording && !bitmaps[0].is_in_use);
  EXPECT_EQ(bitmaps[1].name, "kept");
  EXPECT_EQ(bitmaps[1].granularity_bytes, 65536u);
  EXPECT_TRUE(!bitmaps[1].is_recording && !bitmaps[1].is_in_use);
}

TEST_F(BitmapsInterop, ReadingLeavesTheImageAsItIs) {
  CrashDisk disk = Disk();
  const std::vector<uint8_t> before = disk.live();
  for (const bool is_read_only : {true, false}) {
    Use(disk, is_read_only, [&](FormatNode& node) MILLRACE_MAY_SUSPEND {
      std::vector<uint8_t> content(kBytes);
      return node.CoRead(0, absl::MakeSpan(content));
    });
    EXPECT_EQ(disk.live(), before);
  }
}

// We do not record: a bitmap that should have is worth nothing from the first write on, and one
// that does not is what it was.
TEST_F(BitmapsInterop, AWriteInvalidatesTheOneThatRecordsAndKeepsTheOther) {
  CrashDisk disk = Disk();
  const std::vector<CraftedBitmap> before = BitmapsOf(disk);
  Use(disk, false, [](FormatNode& node) MILLRACE_MAY_SUSPEND {
    return node.CoWrite(2 << 20, Pattern(100000, 1));
  });
  const std::vector<Qcow2BitmapInfo> bitmaps = Described(disk);
  ASSERT_THAT(bitmaps, SizeIs(2));
  EXPECT_TRUE(bitmaps[0].is_in_use && bitmaps[0].is_recording);
  EXPECT_TRUE(!bitmaps[1].is_in_use && !bitmaps[1].is_recording);
  const std::vector<CraftedBitmap> after = BitmapsOf(disk);
  EXPECT_EQ(after[0].bits, before[0].bits);
  EXPECT_EQ(after[1].bits, before[1].bits);
  WriteFile(path_, disk.live());
  EXPECT_TRUE(QemuCheck(path_).ok()) << QemuCheck(path_);
  EXPECT_TRUE(QemuMerges("kept").ok()) << QemuMerges("kept");
  const absl::Status merged = QemuMerges("recording");
  EXPECT_THAT(std::string(merged.message()), HasSubstr("is inconsistent"));
}

TEST_F(BitmapsInterop, AResizeInvalidatesAll) {
  CrashDisk disk = Disk();
  Use(disk, false, [](FormatNode& node) MILLRACE_MAY_SUSPEND { return node.CoResize(2 * kBytes); });
  for (const Qcow2BitmapInfo& bitmap : Described(disk)) EXPECT_TRUE(bitmap.is_in_use);
  WriteFile(path_, disk.live());
  EXPECT_TRUE(QemuCheck(path_).ok()) << QemuCheck(path_);
  // QEMU opens the image, refuses the bitmaps, and takes them out where it is asked to.
  EXPECT_FALSE(QemuMerges("kept").ok());
  Run({"qemu-img", "bitmap", "--remove", path_, "kept"});
  Run({"qemu-img", "bitmap", "--remove", path_, "recording"});
  EXPECT_TRUE(QemuCheck(path_).ok()) << QemuCheck(path_);
}

// Whoever does not know bitmaps clears the bit that vouches for them.
TEST_F(BitmapsInterop, DoNotCountWithoutTheirAutoclearBit) {
  CrashDisk disk = Disk();
  disk.live()[95] = 0;
  EXPECT_THAT(Described(disk), IsEmpty());
  const std::vector<uint8_t> before = disk.live();
  Use(disk, false,
      [](FormatNode& node) MILLRACE_MAY_SUSPEND { return node.CoWrite(0, Pattern(512, 1)); });
  EXPECT_EQ(disk.live()[95], 0);
}

TEST_F(BitmapsInterop, AWriteGivesUpADirectoryThatNobodyCanRead) {
  CrashDisk disk = Disk();
  const auto header = qcow2::ParseHeader(absl::MakeConstSpan(disk.live()).first(65536));
  ASSERT_TRUE(header.ok()) << header.status();
  const auto where = qcow2::FindBitmaps(header->extensions, 65536, disk.live().size());
  ASSERT_TRUE(where.ok() && where->has_value());
  disk.live()[(*where)->directory_offset + 17] = 60;  // granularity bits of the first
  Use(disk, false,
      [](FormatNode& node) MILLRACE_MAY_SUSPEND { return node.CoWrite(0, Pattern(512, 1)); });
  EXPECT_THAT(Described(disk), IsEmpty());
  WriteFile(path_, disk.live());
  // What the bitmaps took is leaked; nothing is corrupt.
  EXPECT_TRUE(RunTool({"sh", "-c", "qemu-img check -f qcow2 \"$0\" || test $? = 3", path_}).ok());
}

// Whatever a crash leaves, no bitmap claims to know of a write that it has not recorded.
TEST_F(BitmapsInterop, ACrashLeavesNoBitmapThatIsWrong) {
  CrashDisk disk = Disk();
  disk.RecordEvents();
  const std::vector<uint8_t> data = Pattern(512, 77);
  Use(disk, false, [&](FormatNode& node) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoWrite(0, data));  // in place: a cluster that is allocated
    return node.CoFlush();
  });
  RandomStream random(1);
  int written = 0;
  int trusted = 0;
  for (int i = 0; i < 400; ++i) {
    CrashDisk crashed(disk.CrashImage(random.Below(disk.event_count() + 1), random));
    std::vector<uint8_t> content(512);
    Use(crashed, true, [&](FormatNode& node) MILLRACE_MAY_SUSPEND {
      return node.CoRead(0, absl::MakeSpan(content));
    });
    const std::vector<Qcow2BitmapInfo> bitmaps = Described(crashed);
    const bool is_trusted = !bitmaps.empty() && !bitmaps[0].is_in_use;
    written += content == data ? 1 : 0;
    trusted += is_trusted ? 1 : 0;
    EXPECT_FALSE(content == data && is_trusted) << "crash image " << i;
  }
  EXPECT_GT(written, 0);
  EXPECT_GT(trusted, 0);
}

}  // namespace
}  // namespace millrace::bitmaps_interop_test
