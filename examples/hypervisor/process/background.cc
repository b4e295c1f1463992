#include "examples/hypervisor/process/background.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>

namespace millrace {
namespace {

[[noreturn]] void WaitForChild(int pipe) {
  char status = 1;
  ssize_t count = 0;
  do {
    count = read(pipe, &status, 1);
  } while (count < 0 && errno == EINTR);
  // Nothing read: the child has said why on stderr.
  _exit(count == 1 ? status : 1);
}

}  // namespace

void Background::Enter() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) {
    std::perror("cannot create a pipe");
    std::exit(1);
  }
  const pid_t child = fork();
  if (child < 0) {
    std::perror("cannot fork");
    std::exit(1);
  }
  if (child > 0) {
    close(ends[1]);
    WaitForChild(ends[0]);
  }
  close(ends[0]);
  parent_ = ends[1];
  setsid();
  // A session leader could still be given a terminal.
  const pid_t grandchild = fork();
  if (grandchild != 0) _exit(grandchild < 0 ? 1 : 0);
  umask(027);
  std::signal(SIGTSTP, SIG_IGN);
  std::signal(SIGTTOU, SIG_IGN);
  std::signal(SIGTTIN, SIG_IGN);
}

void Background::Complete() {
  if (parent_ < 0) return;
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  const char status = null < 0 || chdir("/") < 0 ? 1 : 0;
  if (null >= 0) {
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, stream);
    if (null > STDERR_FILENO) close(null);
  }
  ssize_t count = 0;
  do {
    count = write(parent_, &status, 1);
  } while (count < 0 && errno == EINTR);
  close(parent_);
  parent_ = -1;
}

}  // namespace millrace
