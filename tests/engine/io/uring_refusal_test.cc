// A host that refuses to take submissions into an io_uring for a while (no memory), made by a
// filter that asks this test about every io_uring_enter(2).
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <future>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "millrace/engine/engine.h"
#include "tests/engine/io/io_test_support.h"
#include "tests/support/temporary_folder.h"

namespace millrace::uring_refusal_test {
namespace {

constexpr int kLimitMs = 20'000;  // a submission that is forgotten fails the test, not hangs it

// From here on this thread's io_uring_enter(2) is asked about on the returned descriptor; -1 if the
// host allows no such filter.
int AskAboutSubmissionsOfThisThread() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_enter, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = {4, program};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -1;
  return static_cast<int>(
      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter));
}

// Refuses the first `refusals` calls that submit something, and lets all others through, until the
// thread is gone. Returns how many it refused.
int AnswerUntilTheThreadEnds(int listener, int refusals) {
  int refused = 0;
  for (;;) {
    pollfd wanted = {listener, POLLIN, 0};
    if (poll(&wanted, 1, kLimitMs) <= 0 || (wanted.revents & POLLIN) == 0) return refused;
    seccomp_notif question = {};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &question) != 0) continue;
    seccomp_notif_resp answer = {};
    answer.id = question.id;
    if (question.data.args[1] > 0 && refused < refusals) {
      ++refused;
      answer.error = -EAGAIN;
    } else {
      answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    }
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
  }
}

absl::Status CoWriteAndReadBack(IoBackend& io, const std::string& path) MILLRACE_MAY_SUSPEND {
  auto file = io.CoOpen(path, {.writable = true, .create = true});
  if (!file.ok()) return file.status();
  const std::string block(4096, 'x');
  const bool is_written = CoWriteText(io, *file, 0, block) == 4096;
  const bool is_read = CoReadText(io, *file, 0, 4096) == block;
  io.CoClose(*file);
  return is_written && is_read ? absl::OkStatus() : absl::InternalError("wrong bytes");
}

// Nothing but the engine's own descriptor wakes this loop.
bool DriveByPoll(Engine& engine, TaskScope& scope) {
  while (scope.live() > 0) {
    if (engine.PollOnce()) continue;
    if (scope.live() == 0) break;
    pollfd wanted = {engine.PollFd(), POLLIN, 0};
    if (poll(&wanted, 1, kLimitMs) == 0) return false;
  }
  return true;
}

void RunOnARefusingHost(bool has_foreign_loop) {
  if (!IsAvailable(IoBackendKind::kIoUring)) GTEST_SKIP() << "this host refuses io_uring";
  TemporaryFolder folder;
  std::promise<int> listener;
  std::thread host([&] {
    const int descriptor = AskAboutSubmissionsOfThisThread();
    listener.set_value(descriptor);
    if (descriptor < 0) return;
    auto engine = RealEngine(IoBackendKind::kIoUring);
    TaskScope scope(engine->scheduler(), "test");
    scope.Spawn("test", [&]() MILLRACE_MAY_SUSPEND {
      return CoWriteAndReadBack(engine->io(), folder.File("a"));
    });
    if (has_foreign_loop) {
      // The work is finished either way: a suspended coroutine cannot be taken down.
      EXPECT_TRUE(DriveByPoll(*engine, scope)) << "a refused submission was forgotten";
    }
    engine->RunUntil([&] { return scope.live() == 0; });
    const absl::Status status = scope.Finish();
    EXPECT_TRUE(status.ok()) << status;
  });
  const int descriptor = listener.get_future().get();
  const int refused = descriptor < 0 ? 0 : AnswerUntilTheThreadEnds(descriptor, /*refusals=*/3);
  host.join();
  if (descriptor < 0) GTEST_SKIP() << "no seccomp notifications here";
  close(descriptor);
  EXPECT_EQ(refused, 3);
}

TEST(UringRefusal, ARefusedSubmissionIsTriedAgainWhileTheEngineBlocks) {
  RunOnARefusingHost(/*has_foreign_loop=*/false);
}

TEST(UringRefusal, ARefusedSubmissionWakesAForeignLoop) {
  RunOnARefusingHost(/*has_foreign_loop=*/true);
}

}  // namespace
}  // namespace millrace::uring_refusal_test
