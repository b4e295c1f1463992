#include "examples/hypervisor/process/signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>

namespace millrace {
namespace {

constexpr int kSignals[] = {SIGTERM, SIGINT, SIGHUP};

// Where the handler writes: all it may touch.
std::atomic<int> signal_fd{-1};

void OnSignal(int) {
  const int saved = errno;
  const uint64_t one = 1;
  const ssize_t ignored = write(signal_fd.load(), &one, sizeof(one));
  static_cast<void>(ignored);
  errno = saved;
}

void Handle(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(signal, &action, nullptr);
}

}  // namespace

TerminationSignals::TerminationSignals(EventLoop& loop, std::function<void()> on_signal)
    : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      watch_(loop, fd_, [fd = fd_, on_signal = std::move(on_signal)](short) {
        uint64_t count = 0;
        if (read(fd, &count, sizeof(count)) > 0) on_signal();
      }) {
  watch_.SetEvents(POLLIN);
  signal_fd = fd_;
  for (const int signal : kSignals) Handle(signal, OnSignal);
  Handle(SIGPIPE, SIG_IGN);
}

TerminationSignals::~TerminationSignals() {
  for (const int signal : kSignals) Handle(signal, SIG_DFL);
  signal_fd = -1;
  close(fd_);
}

}  // namespace millrace
