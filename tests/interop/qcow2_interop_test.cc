// qcow2 both ways: QEMU's images read and written by us, ours by QEMU.
#include <cstdint>

#include <gtest/gtest.h>

#include "tests/support/qcow2_interop.h"
#include "tests/support/qemu_tools.h"
#include "tests/support/seeds.h"

namespace millrace::qcow2_interop_test {
namespace {

TEST(Qcow2Interop, RandomTurnsOfQemuAndUsAgree) {
  if (!HasQemuTools()) GTEST_SKIP() << "qemu-utils is not installed";
  InteropCounts counts;
  for (uint64_t seed : Seeds(100)) {
    const absl::Status status = RunQcow2Interop(seed, counts);
    ASSERT_TRUE(status.ok()) << status;
  }
  EXPECT_GT(counts.qemu_checks, counts.images);
}

}  // namespace
}  // namespace millrace::qcow2_interop_test
