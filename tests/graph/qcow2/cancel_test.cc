// Somebody interrupts the making or the checking of an image, at any of its operations: it ends
// with CancelledError, and what it says of the file is so. (Repairs: repair_fault_test.cc.)
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "tests/support/cancelling_file.h"
#include "tests/support/qcow2_images.h"

namespace millrace::cancel_test {
namespace {

constexpr uint64_t kNever = UINT64_MAX;
Qcow2CreateOptions ManyTables() {
  return {
      .bytes = 4000 * 512, .cluster_bytes = 512, .preallocation = Qcow2Preallocation::kMetadata};
}

struct Tried {
  absl::Status status;
  uint64_t operations = 0;
  bool was_cancelled = false;
};

Tried Create(CrashDisk& disk, uint64_t cancels_at) {
  CancellingFile file(disk, cancels_at);
  const absl::Status status =
      file.Run([&]() MILLRACE_MAY_SUSPEND { return CoCreateQcow2(file, ManyTables()); });
  return {status, file.operations(), file.has_cancelled()};
}

Tried Check(CrashDisk& disk, uint64_t cancels_at, bool is_cancellable) {
  CancellingFile file(disk, cancels_at);
  const absl::Status status = file.Run([&]() MILLRACE_MAY_SUSPEND {
    return CoCheckQcow2(file, {.is_cancellable = is_cancellable}).status();
  });
  return {status, file.operations(), file.has_cancelled()};
}

TEST(Qcow2Cancel, AnImageThatWasNotFinishedIsNone) {
  const std::vector<uint8_t> old = MakeImage({.bytes = 512 * 100}).live();
  CrashDisk whole;
  const uint64_t count = Create(whole, kNever).operations;
  ASSERT_GT(count, 50u);
  uint64_t cancelled = 0;
  for (uint64_t at = 0; at < count; ++at) {
    SCOPED_TRACE(StrCat("at ", at, " of ", count));
    CrashDisk disk(old);
    const Tried tried = Create(disk, at);
    ASSERT_TRUE(tried.was_cancelled);
    if (tried.status.ok()) {
      EXPECT_TRUE(disk.live() == whole.live());
      EXPECT_GE(at + 5, count) << "it went on although there was much left to do";
      continue;
    }
    ++cancelled;
    ASSERT_TRUE(absl::IsCancelled(tried.status)) << tried.status;
    EXPECT_NE(tried.status.message().find("is no image yet"), std::string::npos) << tried.status;
    EXPECT_FALSE(CheckImage(disk).ok());
    EXPECT_LE(tried.operations, at + 4) << "it was not at once";
  }
  EXPECT_GT(cancelled, count - 10);
}

TEST(Qcow2Cancel, ACheckEndsAtTheNextTableAndOnlyWhereThatIsAskedFor) {
  CrashDisk disk;
  ASSERT_TRUE(Create(disk, kNever).status.ok());
  const std::vector<uint8_t> before = disk.live();
  const uint64_t count = Check(disk, kNever, true).operations;
  ASSERT_GT(count, 50u);
  uint64_t cancelled = 0;
  for (uint64_t at = 0; at < count; ++at) {
    SCOPED_TRACE(StrCat("at ", at, " of ", count));
    EXPECT_TRUE(Check(disk, at, false).status.ok());
    const Tried tried = Check(disk, at, true);
    if (tried.status.ok()) continue;
    ++cancelled;
    EXPECT_TRUE(absl::IsCancelled(tried.status)) << tried.status;
    EXPECT_NE(tried.status.message().find("it was not changed"), std::string::npos);
    EXPECT_LE(tried.operations, at + 4) << "it was not at once";
  }
  EXPECT_GT(cancelled, count - 10);
  EXPECT_TRUE(disk.live() == before);
}

}  // namespace
}  // namespace millrace::cancel_test
