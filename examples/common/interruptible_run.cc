#include "examples/common/interruptible_run.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace millrace {
namespace {

constexpr int kTwinMs = 20;

// Once; where nobody reads what the program tells, the next signal ends it.
void LetPass(int number) { signal(number, SIG_DFL); }

}  // namespace

InterruptibleRun::InterruptibleRun() {
  sigset_t wanted;
  sigemptyset(&wanted);
  for (const int number : {SIGINT, SIGTERM}) {
    // Whoever started us may want it ignored, as a shell does of what it runs in the background.
    struct sigaction now;
    if (sigaction(number, nullptr, &now) == 0 && now.sa_handler == SIG_IGN) continue;
    sigaddset(&wanted, number);
    heeded_.push_back(number);
  }
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
  // One request may come twice: timeout(1) tells its child, and then the child's group.
  pollfd twin = {signal_fd_, POLLIN, 0};
  poll(&twin, 1, kTwinMs);
  while (ReadSignal()) {
  }
  if (on_interrupt_) on_interrupt_();
  // A second request ends the program as it is. Whatever the program does about them where no
  // engine runs: here it would be no clean end.
  for (const int number : heeded_) signal(number, SIG_DFL);
  Unblock();
}

bool InterruptibleRun::Listen() {
  TakeSignal();
  return was_interrupted_;
}

void InterruptibleRun::CancelMain() {
  if (main_ != nullptr) main_->Cancel();
}

void InterruptibleRun::End(bool must_be_told) {
  while (ReadSignal()) {
  }
  if (must_be_told && !was_interrupted_) {
    for (const int number : heeded_) signal(number, &LetPass);
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
