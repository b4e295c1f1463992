// Scheduler: the cooperative heart of one engine, on one home thread.
//
// It owns the coroutines, a run queue and the timers, and asks the Decider (if any) what happens
// next. It knows no I/O: sources of completions plug in as StepSource. Embedders use Engine
// (millrace/engine/engine.h); this class is what the engine's own parts are built on.
//
// Everything here is home-thread only. Nothing here suspends.
#ifndef MILLRACE_ENGINE_SCHEDULER_SCHEDULER_H_
#define MILLRACE_ENGINE_SCHEDULER_SCHEDULER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/engine/observer.h"
#include "millrace/engine/scheduler/clock.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/engine/scheduler/wait.h"

namespace millrace {

class InvariantChecker;
class Scheduler;
class StackPool;

namespace internal {

// The initial-exec model makes reading it one instruction.
extern
    __attribute__((tls_model("initial-exec"))) constinit thread_local Scheduler* current_scheduler;

}  // namespace internal

// A moment at which a function is called on the home thread. Owned by the caller; must be disarmed
// or fired before it is destroyed (checked). Arm through Scheduler::Arm.
class Timer {
 public:
  using Callback = void (*)(void* context);
  Timer(const char* label, Callback callback, void* context)
      : label_(label), callback_(callback), context_(context) {}
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  bool is_armed() const { return armed_; }
  Nanoseconds deadline() const { return deadline_; }

 private:
  friend class Scheduler;
  const char* label_;
  Callback callback_;
  void* context_;
  Nanoseconds deadline_ = 0;
  uint64_t sequence_ = 0;
  bool armed_ = false;
};

// A source of external steps that a simulation can order at will: pending simulated I/O.
class StepSource {
 public:
  // How many steps could be taken now.
  virtual size_t EnabledSteps() const = 0;
  virtual Option DescribeStep(size_t index) const = 0;
  virtual void TakeStep(size_t index) = 0;

 protected:
  ~StepSource() = default;
};

class Scheduler {
 public:
  // `clock` (and `decider` and `stacks`, if any) must outlive the scheduler. Without `stacks` it
  // has a pool of its own.
  explicit Scheduler(Clock& clock, Decider* decider = nullptr, StackPool* stacks = nullptr);
  // No coroutine may be alive (checked).
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // The scheduler that is being driven on this thread, or null.
  static Scheduler* Current();

  // Host code that drives a scheduler, or calls its callbacks: makes it Current() while this lives.
  // Nests for different schedulers only: whoever drives one from its own coroutines or callbacks
  // has built a nested event loop (checked), and whoever drives one with a view open would let a
  // coroutine edit below the view (G9, checked).
  class DrivingScope {
   public:
    explicit DrivingScope(Scheduler& scheduler);
    ~DrivingScope();
    DrivingScope(const DrivingScope&) = delete;
    DrivingScope& operator=(const DrivingScope&) = delete;

   private:
    Scheduler& scheduler_;
    Scheduler* const previous_;
  };

  Clock& clock() const { return clock_; }
  Nanoseconds Now() const { return clock_.Now(); }

  // ---- Choices --------------------------------------------------------------------------------
  Decider* decider() const { return decider_; }
  // 0 without a decider or with fewer than two options.
  size_t Choose(ChoiceKind kind, absl::Span<const Option> options) {
    if (__builtin_expect(decider_ == nullptr, 1) || options.size() < 2) return 0;
    return ChooseSlow(kind, options);
  }
  // Who hears of steps; null in production. Callers build what they report only if somebody hears:
  //   if (StepObserver* observer = scheduler.observer()) observer->OnNote("graph", name, text);
  StepObserver* observer() const { return observer_; }
  // The same, for notes that cost something: null where nobody keeps them, as in an exploration
  // whose strategy hears of steps.
  StepObserver* note_keeper() const {
    return observer_ != nullptr && observer_->keeps_notes() ? observer_ : nullptr;
  }
  void Touch(std::string_view type, std::string_view name, StepAccess access) {
    if (__builtin_expect(observer_ != nullptr, 0)) observer_->OnTouch(type, name, access);
  }

  // ---- Running (host code only) ---------------------------------------------------------------
  // Runs runnable coroutines, at most `budget` of them; returns how many ran.
  size_t RunReady(size_t budget);
  // Fires the timers that are due; returns how many.
  size_t FireDueTimers();
  // Takes one step of a simulation: fires the earliest timer that is due, runs a coroutine or takes
  // an external step, in this canonical order or as the decider says. Time passes only when no
  // coroutine can run: then the earliest timer is one more option, the last. False: nothing can
  // happen any more.
  bool RunOneStep();

  bool has_ready() const;
  // Deadline of the earliest timer, kNever if there is none.
  Nanoseconds NextTimer() const;
  size_t live_coroutines() const;
  uint64_t steps() const { return steps_; }
  // Hash over every step taken so far; equal for equal schedules. Only with a decider.
  uint64_t trace_hash() const { return trace_hash_; }
  // Mixes an observation (an I/O outcome, a state) into the trace hash.
  void MixTrace(uint64_t value) {
    trace_hash_ = (((trace_hash_ << 23) | (trace_hash_ >> 41)) ^ value) * 0x9e3779b97f4a7c15u;
  }

  void AddStepSource(StepSource* source) { sources_.push_back(source); }
  void RemoveStepSource(StepSource* source);

  // ---- Timers ---------------------------------------------------------------------------------
  void Arm(Timer& timer, Nanoseconds deadline);  // re-arms if armed
  void Disarm(Timer& timer);                     // no-op if not armed

  // ---- Wait-for graph -------------------------------------------------------------------------
  // One line per live coroutine: its name, yield point, what it waits on and who holds that.
  std::string DescribeWaits() const;
  // The same as data, in order of starting.
  std::vector<CoroutineWait> Waits() const;
  // If coroutines are alive, none can run and nothing external is pending: the report, else
  // nothing. Coroutines that wait idly for work (services) do not make a deadlock.
  std::optional<std::string> FindDeadlock() const;
  // Names a cycle of coroutines that wait for each other, if there is one.
  std::optional<std::string> FindWaitCycle() const;
  // "coroutine 'stream0/copy'", or that the coroutine of this id has ended.
  std::string NameOf(uint64_t coroutine_id) const;

  // ---- Timeline -------------------------------------------------------------------------------
  // Who hears of every step, I/O and drained section from now on (EngineObserver::OnSpan); null,
  // the default: nobody, at the price of one predictable branch for each of them.
  void SetTimeline(EngineObserver* timeline) { timeline_ = timeline; }
  EngineObserver* timeline() const { return timeline_; }

  // ---- Counters -------------------------------------------------------------------------------
  // Who hears of counters; null, the default: nobody, and nothing is counted.
  void SetCounterObserver(EngineObserver* observer) { counter_observer_ = observer; }
  void Count(Counter counter, uint64_t delta = 1) {
    if (__builtin_expect(counter_observer_ != nullptr, 0)) {
      counter_observer_->OnCounter(counter, delta);
    }
  }

  // ---- Invariants -----------------------------------------------------------------------------
  // Checkers are owned by the caller and must be removed before they go.
  void AddInvariantChecker(InvariantChecker* checker) { checkers_.push_back(checker); }
  bool has_invariant_checkers() const { return !checkers_.empty(); }
  void RemoveInvariantChecker(InvariantChecker* checker);
  // What every checker says, in order of adding; the first refusal.
  absl::Status CheckInvariants();
  // Whether graphs look at what each edit has touched, and at all of it when the jobs are over;
  // what does not hold fails a check. Off by default.
  void SetChecksEdits(bool checks) { checks_edits_ = checks; }
  bool checks_edits() const { return checks_edits_; }
  // Called after every step of a simulation (RunOneStep), outside of it. Null: nobody looks.
  void SetStepCheck(absl::AnyInvocable<void()> check) { step_check_ = std::move(check); }

  // ---- For engine/scope, engine/sync and graph/ -----------------------------------------------
  // G9: no coroutine suspends while a view is open, and no second one is opened.
  void OnViewOpened() {
    if (open_views_++ != 0) RefuseSecondView();
  }
  void OnViewClosed() { --open_views_; }

  // Starts a coroutine in `scope` that will run body(closure). Returns where the caller constructs
  // the closure before anything else runs, or null if no stack could be had.
  void* Start(TaskScope& scope, std::string_view name, size_t closure_bytes,
              size_t closure_alignment, void (*body)(void* closure));
  // Makes a suspended coroutine runnable (I16: never one that runs or is already woken).
  void Wake(CoroutineState* coroutine);
  CoroutineState* running() const { return running_; }
  // The scheduler of the running coroutine; checks that there is one.
  static Scheduler& OfRunning();
  // Checks that no coroutine of another engine runs now: `what` ("a graph") belongs to this one,
  // and a wait for it would be in the wrong engine and never end. Host code may come from anywhere.
  void CheckIsHomeOf(std::string_view what) const;
  void SuspendRunning(const char* yield_point, const Waitable* on);
  void YieldRunning(const char* yield_point);
  // Tells whether more external completions are expected (I/O in flight), for FindDeadlock.
  void AddPendingExternal(int64_t delta) { pending_external_ += delta; }

 private:
  struct Impl;
  size_t ChooseSlow(ChoiceKind kind, absl::Span<const Option> options);
  bool TakeCanonicalStep();
  bool TakeChosenStep();
  void TakeExternalStep(size_t index);
  void Fire(Timer& timer);
  bool MayNotHaveStack(std::string_view name);
  void Resume(CoroutineState* coroutine);
  void SwitchOnTimeline(CoroutineState* coroutine);
  void Recycle(CoroutineState* coroutine);
  static void EnterCoroutine(void* coroutine) noexcept;
  [[noreturn]] static void RefuseSecondView();
  void MixTraceText(std::string_view text);

  Clock& clock_;
  Decider* const decider_;
  StepObserver* const observer_;
  EngineObserver* timeline_ = nullptr;
  EngineObserver* counter_observer_ = nullptr;
  std::vector<InvariantChecker*> checkers_;
  absl::AnyInvocable<void()> step_check_;
  std::unique_ptr<Impl> impl_;
  CoroutineState* running_ = nullptr;
  std::vector<StepSource*> sources_;
  Nanoseconds turn_began_ = 0;  // of the turn, or the step of a simulation, that runs
  uint64_t steps_ = 0;
  uint64_t trace_hash_ = 0x6d696c6c72616365u;
  uint64_t next_coroutine_id_ = 1;
  uint64_t next_timer_sequence_ = 0;
  int64_t pending_external_ = 0;
  int open_views_ = 0;
  bool is_driven_ = false;
  bool checks_edits_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SCHEDULER_SCHEDULER_H_
