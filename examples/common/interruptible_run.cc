#include "examples/common/interruptible_run.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace millrace {

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

bool InterruptibleRun::ReadSignal() {
  signalfd_siginfo signal;
  return signal_fd_ >= 0 && read(signal_fd_, &signal, sizeof(signal)) == sizeof(signal);
}

void InterruptibleRun::TakeSignal() {
  if (!ReadSignal()) return;
  was_interrupted_ = true;
  // Whatever the program does about them where no engine runs: here it would be no clean end.
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  Unblock();
  if (on_interrupt_) on_interrupt_();
}

bool InterruptibleRun::Listen() {
  TakeSignal();
  return was_interrupted_;
}

void InterruptibleRun::CancelMain() {
  if (main_ != nullptr) main_->Cancel();
}

void InterruptibleRun::End() {
  while (ReadSignal()) {
  }
  Unblock();
}

void InterruptibleRun::Drive(Engine& engine, absl::FunctionRef<bool()> is_done) {
  for (;;) {
    engine.PollOnce();
    if (is_done()) return;
    // A negative descriptor is one that poll() leaves out.
    pollfd waits[2] = {{engine.PollFd(), POLLIN, 0}, {signal_fd_, POLLIN, 0}};
    poll(waits, 2, engine.PollTimeoutMs());
    if ((waits[1].revents & POLLIN) != 0) TakeSignal();
  }
}

}  // namespace millrace
