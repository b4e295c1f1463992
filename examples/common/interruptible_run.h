// InterruptibleRun: drives an engine from a loop of our own that also hears Ctrl-C.
//
// Signals are the program's, not the library's: they are blocked (make this object before the
// engine, whose helper threads inherit that) and read from a descriptor that is polled beside the
// engine's. The first SIGINT or SIGTERM calls a function that asks the work to end; after it, the
// signals do what they do by default, so a second one ends the program at once.
#ifndef MILLRACE_EXAMPLES_COMMON_INTERRUPTIBLE_RUN_H_
#define MILLRACE_EXAMPLES_COMMON_INTERRUPTIBLE_RUN_H_

#include <signal.h>

#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "millrace/engine/engine.h"

namespace millrace {

class InterruptibleRun {
 public:
  InterruptibleRun();
  ~InterruptibleRun();
  InterruptibleRun(const InterruptibleRun&) = delete;
  InterruptibleRun& operator=(const InterruptibleRun&) = delete;

  // Called once, outside coroutines, when the program is interrupted. It must not suspend.
  void OnInterrupt(absl::AnyInvocable<void()> function) { on_interrupt_ = std::move(function); }
  // For such a function: cancels the scope of `main`, so that what it calls ends where it is
  // documented as cancellable.
  void CancelMain();
  bool was_interrupted() const { return was_interrupted_; }
  // The same for host code, where no Run() listens: takes a signal that has come meanwhile.
  bool Listen();

  // Runs `main` as a coroutine of the engine until it returns.
  template <typename Main>
  absl::Status Run(Engine& engine, Main&& main) {
    TaskScope scope(engine.scheduler(), "program");
    scope.Spawn("main", std::forward<Main>(main));
    main_ = &scope;
    Drive(engine, [&] { return scope.live() == 0; });
    main_ = nullptr;
    return scope.Finish();
  }

  // The work is over and only has to be told: a signal that came too late for it is forgotten, and
  // from now on signals do what they did before, or, after a first one, end the program. If there
  // is something that must be told, because it was changed, a first one is forgotten then, too.
  void End(bool must_be_told = false);

 private:
  void Drive(Engine& engine, absl::FunctionRef<bool()> is_done);
  void TakeSignal();
  bool ReadSignal();
  void Unblock();

  sigset_t previous_;
  std::vector<int> heeded_;  // signals that are not ignored
  int signal_fd_ = -1;
  bool was_interrupted_ = false;
  TaskScope* main_ = nullptr;  // while it runs
  absl::AnyInvocable<void()> on_interrupt_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_COMMON_INTERRUPTIBLE_RUN_H_
