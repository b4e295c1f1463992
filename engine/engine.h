// Engine: one scheduler, one clock, one I/O backend, on one home thread. What an embedder creates.
//
// Two ways to drive it:
//   engine.RunUntil(done) / engine.Run(main)   the engine blocks the home thread while it waits;
//   PollFd(), PollOnce(budget), PollTimeoutMs()  a foreign loop drives it: it calls PollOnce(),
//   then
//       waits for the descriptor for as long as PollTimeoutMs() says, and so on.
//
// The thread that creates the engine is its home thread; everything is called there except Post(),
// which any thread may call. Several engines may live in one process, on one thread or several;
// they share nothing.
//
//   auto engine = Engine::Create({});
//   absl::Status status = (*engine)->Run([&]() MILLRACE_MAY_SUSPEND { return CoDoSomething(); });
#ifndef MILLRACE_ENGINE_ENGINE_H_
#define MILLRACE_ENGINE_ENGINE_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/sanitizer_agreement.h"
#include "millrace/engine/io/io_backend.h"
#include "millrace/engine/observer.h"
#include "millrace/engine/scheduler/clock.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/engine/scheduler/scheduler.h"
#include "millrace/engine/scope/task_scope.h"

namespace millrace {

class BufferPool;
class Doorbell;
class PostQueue;
class SimulatedDisk;
class SimulatedIo;

class Engine {
 public:
  struct Options {
    IoBackendKind io = IoBackendKind::kAutomatic;
    // Owned by the caller; may be null. Must outlive the engine.
    EngineObserver* observer = nullptr;
    // Simulation: simulated clock and I/O, every choice made by `decider` (null: always option 0).
    bool simulated = false;
    Decider* decider = nullptr;
    // Owned by the caller, must outlive the engine; null: a pool of its own. Shared by engines that
    // one thread creates one after another, it saves each of them from mapping stacks.
    StackPool* stacks = nullptr;
    // Simulation: the files there are; null for an empty disk. Must outlive the engine.
    SimulatedDisk* disk = nullptr;
  };

  // Unavailable if the wanted I/O backend cannot be had.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const Options& options);
  // No coroutine may be alive (checked): end jobs and guests first (JobManager::CoShutdown).
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  Scheduler& scheduler() { return *scheduler_; }
  Clock& clock() { return *clock_; }
  IoBackend& io() { return *io_; }
  // Reused memory for I/O.
  BufferPool& buffers() { return *buffers_; }
  // The simulation's controls; null if the engine is real.
  SimulatedIo* simulated_io() { return simulated_io_; }
  EngineObserver& observer() { return *observer_; }
  // Whether the observer hears of every step, I/O and drained section (EngineObserver::OnSpan). Off
  // by default. A span that is under way when it is turned on or off may be missing.
  void SetTimeline(bool is_on) { scheduler_->SetTimeline(is_on ? observer_ : nullptr); }

  // ---- Blocking ---------------------------------------------------------------------------------
  // Runs `main` as a coroutine and everything it starts, until it returns; ResourceExhausted if
  // there is no memory for its stack. A simulated engine that can make no more progress fails a
  // check with the deadlock report: a suspended coroutine cannot be taken down. Tests that expect a
  // deadlock spawn into a TaskScope and use RunUntil().
  template <typename Main>
  absl::Status Run(Main&& main) {
    TaskScope scope(*scheduler_, "run");
    scope.Spawn("main", std::forward<Main>(main));
    MILLRACE_CHECK(RunUntil([&] { return scope.live() == 0; }),
                   scheduler_->FindDeadlock().value_or("the simulation ended early"));
    return scope.Finish();
  }
  // Runs until `done()`; false if nothing can happen any more (simulated engines only; a real one
  // waits for I/O, timers and Post() for ever).
  bool RunUntil(absl::FunctionRef<bool()> done);

  // ---- Driven by a foreign loop -----------------------------------------------------------------
  // Readable when there is something to do. Level-triggered; poll(2) and epoll both work. The same
  // for the engine's whole life. Call PollOnce() before the first wait, and again after calling
  // into the engine from elsewhere; a wait may end with EINTR, as the kernel does work of io_uring
  // on this thread.
  int PollFd() const { return io_->PollFd(); }
  // Does what can be done without blocking, at most `budget` coroutine switches (simulated: steps,
  // and false means that nothing can happen any more). True: call again soon (work is left); false:
  // wait for PollFd(), for PollTimeoutMs() at most.
  bool PollOnce(size_t budget = 1024);
  // Whether PollOnce() has something to do now. For loops that call into the engine between
  // PollOnce() and their wait.
  bool HasWork() const;
  // For loops: between their wait and the next look at HasWork(), or PollOnce(). While one lives,
  // what the home thread posts to the engine, or rings it for, costs no system call: the loop's own
  // callbacks need not wake it. They nest.
  class BeforeNextLook {
   public:
    explicit BeforeNextLook(Engine& engine) : engine_(engine) { ++engine_.looks_promised_; }
    ~BeforeNextLook() { --engine_.looks_promised_; }
    BeforeNextLook(const BeforeNextLook&) = delete;
    BeforeNextLook& operator=(const BeforeNextLook&) = delete;

   private:
    Engine& engine_;
  };
  // Engine time (clock().Now()) of the next timer; kNever if there is none. The descriptor does not
  // tell of timers: a loop that waits without looking here sleeps through a job's speed limit.
  Nanoseconds NextDeadline() const { return scheduler_->NextTimer(); }
  // What to hand to poll(2) or epoll_wait(2) as the time-out, in milliseconds: 0 if HasWork(), else
  // until NextDeadline(), rounded up so that a timer is due when they return; -1 if there is none.
  int PollTimeoutMs() const;

  // ---- From any thread --------------------------------------------------------------------------
  // Calls `function` on the home thread, outside coroutines, soon; in order of posting per thread.
  // What is still queued when the engine is destroyed is destroyed without being called. For work
  // that comes all the time, see Doorbell and SubmissionQueue in engine/io, which allocate nothing.
  void Post(absl::AnyInvocable<void()> function);

 private:
  Engine();
  friend class Doorbell;
  size_t RunPosted();
  void Ring(Doorbell& bell);
  void Forget(Doorbell& bell);
  bool Turn(size_t budget);
  // Whether whoever drives the engine is at work, on this thread, and looks for what was posted
  // before it waits.
  bool IsDriverAtWork() const;

  std::unique_ptr<Clock> clock_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<BufferPool> buffers_;
  std::unique_ptr<IoBackend> io_;
  SimulatedIo* simulated_io_ = nullptr;
  EngineObserver* observer_ = nullptr;
  std::unique_ptr<PostQueue> posted_;
  std::unique_ptr<EngineObserver> silent_observer_;
  int looks_promised_ = 0;  // the home thread's
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_ENGINE_H_
