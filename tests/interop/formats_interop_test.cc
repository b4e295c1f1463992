// Images of every cluster size and refcount width, written by us, as QEMU sees them.
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/qcow2_formats.h"
#include "tests/support/qemu_tools.h"

namespace millrace::formats_interop_test {
namespace {

TEST(FormatsInterop, EveryClusterSizeAndRefcountWidthIsCleanAndReadsTheSameForQemu) {
  if (!HasQemuTools()) GTEST_SKIP() << "qemu-utils is not installed";
  TemporaryFolder folder;
  for (const Qcow2Format& format : AllQcow2Formats()) {
    SCOPED_TRACE(NameOf(format));
    const absl::StatusOr<WrittenQcow2> image = WriteInEveryWay(format);
    ASSERT_TRUE(image.ok()) << image.status();
    const std::string path = folder.File("ours.qcow2");
    WriteFile(path, image->disk.live());
    const absl::Status checked = QemuCheck(path);
    EXPECT_TRUE(checked.ok()) << checked;
    // Refcounts are not looked at by readers: the content once for each layout of the tables.
    if (format.refcount_bits != 16) continue;
    const absl::StatusOr<std::vector<uint8_t>> content = QemuContent(folder, "ours.qcow2");
    ASSERT_TRUE(content.ok()) << content.status();
    EXPECT_TRUE(*content == image->model);
  }
}

}  // namespace
}  // namespace millrace::formats_interop_test
