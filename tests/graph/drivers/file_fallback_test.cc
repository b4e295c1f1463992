// Zeroes on hosts that refuse the short ways to write them.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/graph/drivers/file.h"
#include "tests/support/simple_driver_context.h"
#include "tests/support/temporary_folder.h"

namespace millrace::file_fallback_test {
namespace {

constexpr ZeroFlags kUnmap{.may_unmap = true};

class FileFallback : public testing::TestWithParam<int> {};

// A block device of sectors of 4 KiB gives no 512 bytes back, and one whose pages are in use gives
// nothing; the next request may fare better.
TEST_P(FileFallback, ZeroesAreWrittenWhereAHoleIsRefusedAndHolesTriedAgain) {
  auto engine = *Engine::Create({.simulated = true});
  SimulatedIo& io = *engine->simulated_io();
  io.disk().Put("disk", std::string(65536, 'a'));
  io.Fail({.operation = SimulatedOperation::kDiscard, .nth = 1, .error_number = GetParam()});
  SimpleDriverContext context(*engine, "node");
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    auto driver = MakeFileDriver({.path = "disk"});
    absl::Status result = driver->CoOpen(context);
    if (result.ok()) result = driver->CoWriteZeroes(ByteRange(512, 512), kUnmap);
    EXPECT_EQ(io.completed(SimulatedOperation::kWriteZeroes), 1u);
    if (result.ok()) result = driver->CoWriteZeroes(ByteRange(8192, 4096), kUnmap);
    driver->CoClose();
    return result;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(io.completed(SimulatedOperation::kDiscard), 2u);
  EXPECT_EQ(io.completed(SimulatedOperation::kWriteZeroes), 1u);
  EXPECT_EQ(io.disk().Contents("disk"), std::string(512, 'a') + std::string(512, '\0') +
                                            std::string(7168, 'a') + std::string(4096, '\0') +
                                            std::string(65536 - 12288, 'a'));
}

// What this thread, and those that it makes, ask of fallocate(2) is refused from here on.
bool RefuseFallocate(int error_number) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fallocate, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error_number)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = {4, program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0;
}

TEST_P(FileFallback, ZeroesAreWrittenWhereTheHostRefusesEveryShortWay) {
  TemporaryFolder folder;
  const std::string path = folder.File("disk");
  std::ofstream(path, std::ios::binary) << std::string(200'000, 'a');
  bool is_refused = false;
  absl::Status status;
  std::thread host([&] {
    is_refused = RefuseFallocate(GetParam());
    if (!is_refused) return;
    auto engine = *Engine::Create({.io = IoBackendKind::kThreads});
    SimpleDriverContext context(*engine, "node");
    status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      auto driver = MakeFileDriver({.path = path});
      absl::Status result = driver->CoOpen(context);
      if (result.ok()) result = driver->CoWriteZeroes(ByteRange(1000, 150'000), kUnmap);
      driver->CoClose();
      return result;
    });
  });
  host.join();
  if (!is_refused) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_TRUE(status.ok()) << status;
  std::ifstream file(path, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(content, std::string(1000, 'a') + std::string(150'000, '\0') +
                         std::string(200'000 - 151'000, 'a'));
}

INSTANTIATE_TEST_SUITE_P(Errnos, FileFallback, testing::Values(EINVAL, EBUSY),
                         [](const auto& each) {
                           return std::string(each.param == EINVAL ? "EINVAL" : "EBUSY");
                         });

// As before: who cannot punch at all is not asked again.
TEST(FileFallbackOnce, AHostThatPunchesNoHolesIsAskedOnce) {
  auto engine = *Engine::Create({.simulated = true});
  SimulatedIo& io = *engine->simulated_io();
  io.disk().Put("disk", std::string(65536, 'a'));
  io.disk().options().can_discard = false;
  SimpleDriverContext context(*engine, "node");
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    auto driver = MakeFileDriver({.path = "disk"});
    absl::Status result = driver->CoOpen(context);
    for (int i = 0; i < 3 && result.ok(); ++i) {
      result = driver->CoWriteZeroes(ByteRange(0, 4096), kUnmap);
    }
    driver->CoClose();
    return result;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(io.completed(SimulatedOperation::kDiscard), 1u);
  EXPECT_EQ(io.completed(SimulatedOperation::kWriteZeroes), 3u);
}

}  // namespace
}  // namespace millrace::file_fallback_test
