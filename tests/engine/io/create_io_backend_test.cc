// Which backend an engine gets, with io_uring allowed and with the host refusing it.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "millrace/engine/engine.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/engine/io/io_error.h"
#include "tests/engine/io/io_test_support.h"
#include "tests/support/temporary_folder.h"

namespace millrace::create_io_backend_test {
namespace {

// From here on io_uring_setup fails on this thread, as in a container.
bool RefuseIoUringOnThisThread() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),  // the system call's number
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = {4, program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

TEST(CreateIoBackend, AForcedKindIsHad) {
  EXPECT_EQ(RealEngine(IoBackendKind::kThreads)->io().name(), "threads");
  if (!IsAvailable(IoBackendKind::kIoUring)) GTEST_SKIP() << "this host refuses io_uring";
  EXPECT_EQ(RealEngine(IoBackendKind::kIoUring)->io().name(), "io_uring");
  EXPECT_EQ(RealEngine(IoBackendKind::kAutomatic)->io().name(), "io_uring");
}

TEST(CreateIoBackend, AHostThatRefusesIoUringGetsThreadsUnlessForced) {
  std::thread([] {
    if (!RefuseIoUringOnThisThread()) GTEST_SKIP() << "no seccomp here";
    EXPECT_EQ(RealEngine(IoBackendKind::kAutomatic)->io().name(), "threads");
    auto forced = Engine::Create({.io = IoBackendKind::kIoUring});
    EXPECT_EQ(forced.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(ErrnoOf(forced.status()), EPERM);
    EXPECT_NE(std::string(forced.status().message()).find("use threads"), std::string::npos);
  }).join();
}

TEST(CreateIoBackend, PooledMemoryMovesTheSameBytes) {
  auto engine = RealEngine(IoBackendKind::kAutomatic);
  TemporaryFolder folder;
  ASSERT_TRUE(engine
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    IoBackend& io = engine->io();
                    auto file = io.CoOpen(folder.File("a"), {.writable = true, .create = true});
                    EXPECT_TRUE(file.ok());
                    for (size_t bytes : {4096u, 65536u, 1u << 20, 3u << 20}) {
                      auto from = engine->buffers().TryTake(bytes, "test");
                      auto to = engine->buffers().TryTake(bytes, "test");
                      for (size_t i = 0; i < bytes; ++i) {
                        from->data()[i] = static_cast<char>(i * 7 + bytes);
                      }
                      IoRequest request;
                      request.opcode = IoOpcode::kWrite;
                      request.file = *file;
                      request.offset = 512;
                      request.bytes = bytes;
                      iovec iov = from->iov();
                      request.iov = absl::MakeConstSpan(&iov, 1);
                      EXPECT_EQ(CoSubmit(io, request), static_cast<int64_t>(bytes));
                      iov = to->iov();
                      request.opcode = IoOpcode::kRead;
                      EXPECT_EQ(CoSubmit(io, request), static_cast<int64_t>(bytes));
                      EXPECT_TRUE(from->span() == to->span()) << bytes;
                    }
                    io.CoClose(*file);
                  })
                  .ok());
}

}  // namespace
}  // namespace millrace::create_io_backend_test
