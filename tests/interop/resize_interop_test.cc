// Resizing a qcow2 overlay, longer and shorter than its backing, by us and by `qemu-img resize`:
// the same content and the same map.
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "tests/support/open_qcow2.h"
#include "tests/support/qemu_tools.h"

namespace millrace::resize_interop_test {
namespace {

constexpr uint64_t kBaseBytes = 4 << 20;

absl::Status Resize(const std::string& path, uint64_t bytes) {
  return WithQcow2(path, {kConsistentRead | kResize, kAllPermissions},
                   [&](Attachment& user) MILLRACE_MAY_SUSPEND { return user.CoResize(bytes); });
}

// What each layer decides, but for where the file has holes.
std::string MapText(const std::string& path) {
  return QemuMapText(path, [](const QemuExtent& extent) {
    return StrCat("depth ", extent.depth, extent.is_data ? " data" : " zero");
  });
}

struct ResizeCase {
  const char* options;
  uint64_t old_bytes;
  uint64_t new_bytes;
};

// Old ends at the end of a cluster, inside one, and at the end of a subcluster and inside one.
TEST(ResizeInterop, AnOverlayGrownOverALongerBackingIsAsQemuMakesIt) {
  if (!HasQemuTools()) GTEST_SKIP() << "qemu-utils is not installed";
  const ResizeCase cases[] = {
      {"compat=1.1", 1 << 20, 3 << 20},
      {"compat=1.1", (1 << 20) + 512, 3 << 20},
      {"compat=1.1", (1 << 20) + 512, (1 << 20) + 1024},
      {"compat=1.1,cluster_size=4k", (1 << 20) + 512, 6 << 20},
      {"compat=1.1,cluster_size=2M", (1 << 20) + 512, 9 << 20},
      {"compat=1.1,extended_l2=on", (1 << 20) + 2048, 3 << 20},
      {"compat=1.1,extended_l2=on", (1 << 20) + 2048 + 512, (3 << 20) + 512},
      {"compat=1.1", kBaseBytes, 6 << 20},
      {"compat=0.10", kBaseBytes, 6 << 20},
  };
  TemporaryFolder folder;
  WriteFile(folder.File("base.raw"), std::vector<uint8_t>(kBaseBytes, 0xbb));
  for (const ResizeCase& each : cases) {
    SCOPED_TRACE(StrCat(each.options, " ", each.old_bytes, " to ", each.new_bytes));
    const std::string ours = folder.File("ours.qcow2");
    const std::string theirs = folder.File("theirs.qcow2");
    for (const std::string& path : {ours, theirs}) {
      ASSERT_TRUE(
          RunTool({"qemu-img", "create", "-q", "-f", "qcow2", "-o", each.options, "-b",
                   folder.File("base.raw"), "-F", "raw", path, std::to_string(each.old_bytes)})
              .ok());
    }
    const absl::Status status = Resize(ours, each.new_bytes);
    ASSERT_TRUE(status.ok()) << status;
    const auto resized =
        RunTool({"qemu-img", "resize", "-q", theirs, std::to_string(each.new_bytes)});
    ASSERT_TRUE(resized.ok()) << resized.status();
    EXPECT_TRUE(QemuCheck(ours).ok()) << QemuCheck(ours);
    EXPECT_EQ(MapText(ours), MapText(theirs));
    std::vector<uint8_t> wanted(std::min(each.old_bytes, kBaseBytes), 0xbb);
    wanted.resize(each.new_bytes);
    EXPECT_EQ(*QemuContent(folder, "ours.qcow2"), wanted);
    EXPECT_EQ(*QemuContent(folder, "theirs.qcow2"), wanted);
  }
}

TEST(ResizeInterop, AShrunkImageIsAsQemuMakesIt) {
  if (!HasQemuTools()) GTEST_SKIP() << "qemu-utils is not installed";
  TemporaryFolder folder;
  WriteFile(folder.File("base.raw"), std::vector<uint8_t>(kBaseBytes, 0xbb));
  for (const char* options : {"compat=1.1", "compat=1.1,cluster_size=4k", "compat=0.10",
                              "compat=1.1,extended_l2=on", "compat=1.1,refcount_bits=1"}) {
    for (const uint64_t bytes : {uint64_t{1} << 20, (uint64_t{1} << 20) + 512, uint64_t{512}}) {
      SCOPED_TRACE(StrCat(options, " to ", bytes));
      const std::string ours = folder.File("ours.qcow2");
      const std::string theirs = folder.File("theirs.qcow2");
      for (const std::string& path : {ours, theirs}) {
        ASSERT_TRUE(RunTool({"qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b",
                             folder.File("base.raw"), "-F", "raw", path, "4M"})
                        .ok());
        ASSERT_TRUE(RunTool({"qemu-io", "-c", "write -P 7 512K 2M", path}).ok());
      }
      const absl::Status status = Resize(ours, bytes);
      ASSERT_TRUE(status.ok()) << status;
      ASSERT_TRUE(
          RunTool({"qemu-img", "resize", "-q", "--shrink", theirs, std::to_string(bytes)}).ok());
      EXPECT_TRUE(QemuCheck(ours).ok()) << QemuCheck(ours);
      EXPECT_EQ(MapText(ours), MapText(theirs));
      EXPECT_EQ(*QemuContent(folder, "ours.qcow2"), *QemuContent(folder, "theirs.qcow2"));
    }
  }
}

TEST(ResizeInterop, AVersion2ImageIsNotGrownOverALongerBackingByQemuEither) {
  if (!HasQemuTools()) GTEST_SKIP() << "qemu-utils is not installed";
  TemporaryFolder folder;
  WriteFile(folder.File("base.raw"), std::vector<uint8_t>(kBaseBytes, 0xbb));
  const std::string path = folder.File("old.qcow2");
  ASSERT_TRUE(RunTool({"qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", "-b",
                       folder.File("base.raw"), "-F", "raw", path, "1M"})
                  .ok());
  EXPECT_FALSE(RunTool({"qemu-img", "resize", "-q", path, "3M"}).ok());
  const absl::Status status = Resize(path, 3 << 20);
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  EXPECT_TRUE(QemuCheck(path).ok());
  EXPECT_EQ(QemuContent(folder, "old.qcow2")->size(), 1u << 20);
}

}  // namespace
}  // namespace millrace::resize_interop_test
