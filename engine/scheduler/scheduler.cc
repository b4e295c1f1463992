#include "millrace/engine/scheduler/scheduler.h"

#include <algorithm>
#include <new>

#include "absl/container/inlined_vector.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/coroutine/coroutine_state.h"
#include "millrace/engine/scheduler/scheduler_impl.h"

namespace millrace {

namespace {

thread_local Scheduler* current_scheduler = nullptr;

// Makes a scheduler current for as long as it runs; nests, for an engine driven from another's
// host.
class CurrentScope {
 public:
  explicit CurrentScope(Scheduler* scheduler) : previous_(current_scheduler) {
    current_scheduler = scheduler;
  }
  ~CurrentScope() { current_scheduler = previous_; }

 private:
  Scheduler* const previous_;
};

}  // namespace

Timer::~Timer() { MILLRACE_CHECK(!armed_, "timer destroyed while armed"); }

Scheduler::Scheduler(Clock& clock, Decider* decider)
    : clock_(clock), decider_(decider), impl_(std::make_unique<Impl>()) {}

Scheduler::~Scheduler() {
  MILLRACE_CHECK(live_ == 0, "scheduler destroyed while coroutines are alive: " + DescribeWaits());
  MILLRACE_CHECK(impl_->timers.empty(), "scheduler destroyed with a timer armed");
}

Scheduler* Scheduler::Current() { return current_scheduler; }

// ---- Coroutines --------------------------------------------------------------------------------

CoroutineState* Scheduler::Create(std::string_view name, TaskScope* scope, size_t closure_bytes,
                                  size_t closure_alignment, void** closure) {
  if (decider_ != nullptr) {
    const Option options[] = {{0, name, "stack"}, {0, name, "no stack"}};
    if (Choose(ChoiceKind::kFault, options) != 0) return nullptr;
  }
  Stack stack = impl_->stacks.Take();
  if (!stack.is_valid()) return nullptr;
  // From the top of the stack down: the state, then the closure, then the frames.
  auto top = reinterpret_cast<uintptr_t>(stack.top());
  top = (top - sizeof(CoroutineState)) & ~uintptr_t{63};
  auto* state = new (reinterpret_cast<void*>(top)) CoroutineState;
  top = AlignDown(top - closure_bytes, closure_alignment < 16 ? 16 : closure_alignment);
  *closure = reinterpret_cast<void*>(top);
  state->stack = stack;
  state->home = this;
  state->scope = scope;
  state->closure = *closure;
  state->number = next_coroutine_id_++;
  state->label_bytes =
      static_cast<uint8_t>(std::min(name.size(), size_t{CoroutineState::kLabelBytesMax}));
  std::copy_n(name.data(), state->label_bytes, state->label);
  state->context.InitOnStack(stack, static_cast<size_t>(stack.top() - static_cast<char*>(*closure)),
                             &EnterCoroutine, state);
  return state;
}

void Scheduler::Start(CoroutineState* coroutine, void (*body)(void* closure)) {
  coroutine->body = body;
  coroutine->phase = CoroutineState::Phase::kReady;
  ++live_;
  impl_->live.PushBack(*coroutine);
  impl_->ready.PushBack(*coroutine);
}

void Scheduler::EnterCoroutine(void* argument) {
  auto* self = static_cast<CoroutineState*>(argument);
  self->body(self->closure);
  Scheduler* home = self->home;
  self->scope->OnChildDone(self);
  home->running_ = nullptr;  // tells Resume() that this coroutine is over
  ExecutionContext::SwitchOutForEver(self->context, home->impl_->main);
}

void Scheduler::Recycle(CoroutineState* coroutine) {
  coroutine->context.Release();
  impl_->live.Remove(*coroutine);
  --live_;
  const Stack stack = coroutine->stack;
  coroutine->~CoroutineState();
  impl_->stacks.Return(stack);
}

void Scheduler::Resume(CoroutineState* coroutine) {
  coroutine->phase = CoroutineState::Phase::kRunning;
  coroutine->parked_on = nullptr;
  running_ = coroutine;
  ++steps_;
  if (__builtin_expect(decider_ != nullptr, 0)) {
    MixTrace(coroutine->number);
    for (const char* c = coroutine->parked_at; *c != 0; ++c) MixTrace(static_cast<uint8_t>(*c));
  }
  ExecutionContext::Switch(impl_->main, coroutine->context);
  if (running_ == nullptr) {
    Recycle(coroutine);
  } else {
    running_ = nullptr;
  }
}

void Scheduler::Wake(CoroutineState* coroutine) {
  MILLRACE_CHECK(coroutine->phase == CoroutineState::Phase::kSuspended,
                 "I16: woke a coroutine that is not suspended");
  coroutine->phase = CoroutineState::Phase::kReady;
  impl_->ready.PushBack(*coroutine);
}

void Scheduler::SuspendRunning(const char* yield_point, const Waitable* on) {
  MILLRACE_CHECK(open_views_ == 0, "G9: suspended with a view or transaction open");
  CoroutineState* self = running_;
  self->parked_at = yield_point;
  self->parked_on = on;
  self->phase = CoroutineState::Phase::kSuspended;
  ExecutionContext::Switch(self->context, impl_->main);
}

void Scheduler::YieldRunning(const char* yield_point) {
  MILLRACE_CHECK(open_views_ == 0, "G9: suspended with a view or transaction open");
  CoroutineState* self = running_;
  self->parked_at = yield_point;
  self->phase = CoroutineState::Phase::kReady;
  impl_->ready.PushBack(*self);
  ExecutionContext::Switch(self->context, impl_->main);
}

size_t Scheduler::stacks_in_use() const { return impl_->stacks.in_use(); }

// ---- Running -----------------------------------------------------------------------------------

bool Scheduler::has_ready() const { return !impl_->ready.empty(); }

size_t Scheduler::RunReady(size_t budget) {
  CurrentScope current(this);
  impl_->main.InitAsThread();
  size_t ran = 0;
  for (; ran < budget; ++ran) {
    CoroutineState* next = impl_->ready.PopFront();
    if (next == nullptr) break;
    Resume(next);
  }
  return ran;
}

size_t Scheduler::FireDueTimers() {
  if (impl_->timers.empty()) return 0;
  CurrentScope current(this);
  const Nanoseconds now = Now();
  size_t fired = 0;
  while (!impl_->timers.empty()) {
    Timer* timer = impl_->timers.begin()->second;
    if (timer->deadline_ > now) break;
    Disarm(*timer);
    timer->callback_(timer->context_);
    ++fired;
  }
  return fired;
}

Nanoseconds Scheduler::NextTimer() const {
  return impl_->timers.empty() ? kNever : impl_->timers.begin()->first.first;
}

bool Scheduler::RunOneStep() {
  CurrentScope current(this);
  impl_->main.InitAsThread();
  absl::InlinedVector<Option, 16> options;
  const size_t ready = impl_->ready.size();
  for (CoroutineState* each = impl_->ready.front(); each != nullptr;
       each = impl_->ready.After(*each)) {
    options.push_back({each->number, each->name(), each->parked_at});
    if (decider_ == nullptr) break;
  }
  const size_t coroutines = options.size();
  size_t external = 0;
  if (decider_ != nullptr || ready == 0) {
    for (StepSource* source : sources_) {
      const size_t enabled = source->EnabledSteps();
      for (size_t i = 0; i < enabled; ++i) options.push_back(source->DescribeStep(i));
      external += enabled;
    }
  }
  // Time passes only when no coroutine can run; then a timer may also beat an I/O that is slow.
  Timer* timer = nullptr;
  if (!impl_->timers.empty()) {
    Timer* earliest = impl_->timers.begin()->second;
    if (earliest->deadline_ <= Now() || (ready == 0 && (external == 0 || decider_ != nullptr))) {
      timer = earliest;
      options.push_back({0, timer->label_, "timer"});
    }
  }
  if (options.empty()) return false;

  size_t chosen = Choose(ChoiceKind::kStep, options);
  if (chosen < coroutines) {
    CoroutineState* coroutine = impl_->ready.At(chosen);
    impl_->ready.Remove(*coroutine);
    Resume(coroutine);
    return true;
  }
  MixTrace(options[chosen].actor);
  chosen -= coroutines;
  for (StepSource* source : sources_) {
    const size_t enabled = source->EnabledSteps();
    if (chosen < enabled) {
      ++steps_;
      source->TakeStep(chosen);
      return true;
    }
    chosen -= enabled;
  }
  ++steps_;
  if (timer->deadline_ > Now() && !clock_.AdvanceTo(timer->deadline_)) return false;
  Disarm(*timer);
  timer->callback_(timer->context_);
  return true;
}

size_t Scheduler::ChooseSlow(ChoiceKind kind, absl::Span<const Option> options) {
  const size_t chosen = decider_->Pick(kind, options);
  MILLRACE_CHECK(chosen < options.size(), "decider picked an option that does not exist");
  return chosen;
}

void Scheduler::RemoveStepSource(StepSource* source) { std::erase(sources_, source); }

// ---- Timers ------------------------------------------------------------------------------------

void Scheduler::Arm(Timer& timer, Nanoseconds deadline) {
  Disarm(timer);
  timer.deadline_ = deadline;
  timer.sequence_ = next_timer_sequence_++;
  timer.armed_ = true;
  impl_->timers.emplace(std::pair(deadline, timer.sequence_), &timer);
}

void Scheduler::Disarm(Timer& timer) {
  if (!timer.armed_) return;
  timer.armed_ = false;
  impl_->timers.erase({timer.deadline_, timer.sequence_});
}

}  // namespace millrace
