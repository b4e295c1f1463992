#include "millrace/engine/explore/child_process.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr size_t kStderrBytesMax = 64 * 1024;

// The end, which says what the process died of.
std::string ReadAndClose(int descriptor) {
  struct stat status = {};
  const off_t size = fstat(descriptor, &status) == 0 ? status.st_size : 0;
  std::string text(kStderrBytesMax, '\0');
  const off_t start = std::max<off_t>(size - static_cast<off_t>(text.size()), 0);
  const ssize_t bytes = pread(descriptor, text.data(), text.size(), start);
  text.resize(bytes < 0 ? 0 : static_cast<size_t>(bytes));
  close(descriptor);
  return text;
}

std::string DescribeEnd(int status) {
  if (WIFSIGNALED(status)) {
    const int signal_number = WTERMSIG(status);
    return StrCat("killed by signal ", signal_number, " (", strsignal(signal_number), ")");
  }
  return StrCat("ended with status ", WEXITSTATUS(status));
}

}  // namespace

SharedBlock::SharedBlock(size_t bytes) : bytes_(bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  MILLRACE_CHECK(memory != MAP_FAILED, "exploration: no memory to share with a child process");
  data_ = static_cast<char*>(memory);
}

SharedBlock::~SharedBlock() { munmap(data_, bytes_); }

ChildEnd RunInChild(absl::FunctionRef<void()> function) {
  const int log = memfd_create("exploration-stderr", MFD_CLOEXEC);
  MILLRACE_CHECK(log >= 0, "exploration: no memory for the output of a child process");
  const pid_t child = fork();
  MILLRACE_CHECK(child >= 0, "exploration: fork failed");
  if (child == 0) {
    dup2(log, STDERR_FILENO);
    const rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    KeepFreedMemory();
    function();
    EndChild();
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  ChildEnd end;
  end.is_clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (!end.is_clean) end.how = DescribeEnd(status);
  end.stderr_text = ReadAndClose(log);
  return end;
}

void KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 16 << 20);
}

// Neither destructors nor what the embedder registered with atexit(): they are the parent's.
void EndChild() { _exit(0); }

// Processor time, as the machine may be busy with other things, or the process stopped for a while;
// and much longer by the clock, for a child that waits for something.
void KillChildAfter(uint32_t seconds) {
  constexpr uint32_t kClockFactor = 20;
  itimerval timer = {};
  timer.it_value.tv_sec = seconds;
  setitimer(ITIMER_PROF, &timer, nullptr);
  alarm(seconds * kClockFactor);
}

}  // namespace millrace
