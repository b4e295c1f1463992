// A ring on kernels of all ages: each set of flags that a ring may be made with does the same work.
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/uring_io.h"
#include "millrace/engine/scheduler/clock.h"
#include "millrace/engine/scheduler/scheduler.h"
#include "millrace/engine/scope/task_scope.h"
#include "tests/engine/io/io_test_support.h"
#include "tests/support/temporary_folder.h"

namespace millrace::uring_flags_test {
namespace {

class UringFlags : public testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<IoBackend>> made = CreateUringIo(scheduler_, GetParam());
    if (!IsAvailable(IoBackendKind::kIoUring)) GTEST_SKIP() << "this host refuses io_uring";
    ASSERT_TRUE(made.ok()) << made.status();
    io_ = *std::move(made);
  }

  // Runs the bodies side by side to their ends, as an engine would.
  template <typename Body>
  void RunMany(int count, Body body) {
    TaskScope scope(scheduler_, "test");
    for (int i = 0; i < count; ++i) {
      scope.Spawn("io", [&body, i]() MILLRACE_MAY_SUSPEND { return body(i); });
    }
    while (scope.live() > 0) {
      scheduler_.RunReady(1000);
      io_->Flush();
      if (io_->Poll() == 0 && !scheduler_.has_ready() && scope.live() > 0) io_->Block(kSecond);
    }
    const absl::Status status = scope.Finish();
    EXPECT_TRUE(status.ok()) << status;
  }

  RealClock clock_;
  Scheduler scheduler_{clock_};
  std::unique_ptr<IoBackend> io_;
  TemporaryFolder folder_;
};

TEST_P(UringFlags, FilesAreWrittenReadAndFlushed) {
  EXPECT_EQ(io_->name(), "io_uring");
  RunMany(20, [&](int number) MILLRACE_MAY_SUSPEND -> absl::Status {
    const std::string path = folder_.File(std::to_string(number));
    MILLRACE_ASSIGN_OR_RETURN(const IoFile file,
                              io_->CoOpen(path, {.writable = true, .create = true}));
    const std::string text = "number " + std::to_string(number);
    for (uint64_t i = 0; i < 50; ++i) {
      EXPECT_EQ(CoWriteText(*io_, file, 4096 * i, text), static_cast<int64_t>(text.size()));
      EXPECT_EQ(CoReadText(*io_, file, 4096 * i, text.size()), text);
    }
    EXPECT_EQ(CoRange(*io_, IoOpcode::kSync, file), 0);
    EXPECT_EQ(CoReadText(*io_, file, uint64_t{1} << 30, 10), "");
    io_->CoClose(file);
    return absl::OkStatus();
  });
}

// The other way to wait: a foreign loop polls the descriptor.
TEST_P(UringFlags, TheDescriptorTellsOfCompletions) {
  (void)io_->PollFd();
  RunMany(8, [&](int number) MILLRACE_MAY_SUSPEND -> absl::Status {
    const std::string path = folder_.File(std::to_string(number));
    MILLRACE_ASSIGN_OR_RETURN(const IoFile file,
                              io_->CoOpen(path, {.writable = true, .create = true}));
    for (uint64_t i = 0; i < 20; ++i) {
      EXPECT_EQ(CoWriteText(*io_, file, 100 * i, "text"), 4);
      EXPECT_EQ(CoRange(*io_, IoOpcode::kSync, file), 0);
    }
    io_->CoClose(file);
    return absl::OkStatus();
  });
}

// Who asks for nothing in particular gets the best that the kernel takes.
TEST(UringFlagsInUse, AreTheBestThatTheKernelKnows) {
  RealClock clock;
  Scheduler scheduler(clock);
  unsigned flags = 0;
  if (!CreateUringIo(scheduler, 0, &flags).ok()) GTEST_SKIP() << "this host refuses io_uring";
  constexpr unsigned kBest = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  io_uring_params params = {};
  params.flags = kBest;
  const auto probe = static_cast<int>(syscall(SYS_io_uring_setup, 4, &params));
  if (probe < 0) GTEST_SKIP() << "this kernel does not know the flags";
  close(probe);
  EXPECT_EQ(flags & kBest, kBest);
}

INSTANTIATE_TEST_SUITE_P(Sets, UringFlags, testing::Range<size_t>(0, kUringFlagSets));

}  // namespace
}  // namespace millrace::uring_flags_test
