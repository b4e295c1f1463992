#include "examples/common/interruptible_run.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

namespace millrace {
namespace {

// Milliseconds until the engine's next timer, rounded up so that it is due when poll() returns.
int TimeoutOf(Engine& engine) {
  const Nanoseconds deadline = engine.NextDeadline();
  if (deadline == kNever) return -1;
  const Nanoseconds left = std::max<Nanoseconds>(0, deadline - engine.clock().Now());
  return static_cast<int>(std::min<Nanoseconds>(INT_MAX, (left + kMillisecond - 1) / kMillisecond));
}

}  // namespace

InterruptibleRun::InterruptibleRun() {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGINT);
  sigaddset(&wanted, SIGTERM);
  sigprocmask(SIG_BLOCK, &wanted, &previous_);
  signal_fd_ = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
}

InterruptibleRun::~InterruptibleRun() { Unblock(); }

void InterruptibleRun::Unblock() {
  if (signal_fd_ < 0) return;
  close(signal_fd_);
  signal_fd_ = -1;
  sigprocmask(SIG_SETMASK, &previous_, nullptr);
}

void InterruptibleRun::TakeSignal() {
  signalfd_siginfo signal;
  if (read(signal_fd_, &signal, sizeof(signal)) != sizeof(signal)) return;
  was_interrupted_ = true;
  Unblock();
  if (on_interrupt_) on_interrupt_();
}

void InterruptibleRun::Drive(Engine& engine, absl::FunctionRef<bool()> is_done) {
  for (;;) {
    const bool has_more = engine.PollOnce();
    if (is_done()) return;
    // A negative descriptor is one that poll() leaves out.
    pollfd waits[2] = {{engine.PollFd(), POLLIN, 0}, {signal_fd_, POLLIN, 0}};
    poll(waits, 2, has_more ? 0 : TimeoutOf(engine));
    if ((waits[1].revents & POLLIN) != 0) TakeSignal();
  }
}

}  // namespace millrace
