#include "millrace/engine/scheduler/scheduler.h"

#include <cstring>
#include <new>
#include <vector>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine_state.h"
#include "millrace/engine/scheduler/invariant_checker.h"
#include "millrace/engine/scheduler/scheduler_impl.h"

namespace millrace {
constinit thread_local Scheduler* internal::current_scheduler = nullptr;

Timer::~Timer() { MILLRACE_CHECK(!armed_, "timer destroyed while armed"); }

Scheduler::Scheduler(Clock& clock, Decider* decider, StackPool* stacks)
    : clock_(clock),
      decider_(decider),
      observer_(decider == nullptr ? nullptr : decider->observer()),
      impl_(std::make_unique<Impl>()) {
  if (stacks == nullptr) impl_->own_stacks = std::make_unique<StackPool>();
  impl_->stacks = stacks == nullptr ? impl_->own_stacks.get() : stacks;
}

Scheduler::~Scheduler() {
  MILLRACE_CHECK(live_coroutines() == 0,
                 "scheduler destroyed while coroutines are alive: " + DescribeWaits());
  MILLRACE_CHECK(impl_->timers.empty(), "scheduler destroyed with a timer armed");
}

Scheduler* Scheduler::Current() { return internal::current_scheduler; }

void Scheduler::CheckIsHomeOf(std::string_view what) const {
  const Scheduler* const current = internal::current_scheduler;
  if (current == nullptr || current == this || current->running_ == nullptr) return;
  MILLRACE_CHECK(current == this,
                 StrCat(what, " of one engine was used by coroutine '", current->running_->name(),
                        "' of another; use it in coroutines of its own engine"));
}

// ---- Coroutines --------------------------------------------------------------------------------

void* Scheduler::Start(TaskScope& scope, std::string_view name, size_t closure_bytes,
                       size_t closure_alignment, void (*body)(void* closure)) {
  if (__builtin_expect(decider_ != nullptr, 0) && MayNotHaveStack(name)) return nullptr;
  const Stack stack = impl_->stacks->Take();
  if (!stack.is_valid()) return nullptr;
  // From the top of the stack down: the state, then the closure, then the frames.
  auto top = reinterpret_cast<uintptr_t>(stack.top());
  top = AlignDown(top - sizeof(CoroutineState), 64);
  auto* state = new (reinterpret_cast<void*>(top)) CoroutineState;
  top = AlignDown(top - closure_bytes, closure_alignment < 16 ? 16 : closure_alignment);
  void* closure = reinterpret_cast<void*>(top);
  state->stack = stack;
  state->home = this;
  state->scope = &scope;
  state->body = body;
  state->closure = closure;
  state->number = next_coroutine_id_++;
  state->parked_since = turn_began_;
  state->phase = CoroutineState::Phase::kReady;
  state->cancelled = scope.is_cancelled_;
  state->SetLabel(name);
  state->context.InitOnStack(stack, static_cast<size_t>(stack.top() - static_cast<char*>(closure)),
                             &EnterCoroutine, state);
  scope.children_.PushBack(*state);
  impl_->live.PushBack(*state);
  impl_->ready.PushBack(*state);
  return closure;
}

bool Scheduler::MayNotHaveStack(std::string_view name) {
  const Option options[] = {{0, name, "stack"}, {0, name, "no stack"}};
  return Choose(ChoiceKind::kFault, options) != 0;
}

// An exception that leaves a body is a bug, and there is nothing below to catch it.
void Scheduler::EnterCoroutine(void* argument) noexcept {
  auto* self = static_cast<CoroutineState*>(argument);
  try {
    self->body(self->closure);
  } catch (...) {
    internal::ExceptionEscaped(StrCat("coroutine '", self->name(), "'"),
                               "catch it in there, and return an absl::Status");
  }
  Scheduler* home = self->home;
  MILLRACE_CHECK(home->open_views_ == 0, "G9: coroutine ended with a view or transaction open");
  self->scope->children_.Remove(*self);
  if (self->scope->children_.empty()) self->scope->joiners_.WakeAll();
  home->running_ = nullptr;  // tells Resume() that this coroutine is over
  ExecutionContext::SwitchOutForEver(self->context, home->impl_->main);
}

void Scheduler::RefuseSecondView() {
  MILLRACE_CHECK(
      false,
      "G9: a view or transaction was opened while another one is open; what the first one "
      "has read may not be so after an edit: end its block first, or read from the "
      "transaction");
}

void Scheduler::Recycle(CoroutineState* coroutine) {
  coroutine->context.Release();
  impl_->live.Remove(*coroutine);
  const Stack stack = coroutine->stack;
  coroutine->~CoroutineState();
  impl_->stacks->Return(stack);
}

void Scheduler::MixTraceText(std::string_view text) {
  MixTrace(text.size());
  uint64_t word = 0;
  for (; text.size() > sizeof(word); text.remove_prefix(sizeof(word))) {
    std::memcpy(&word, text.data(), sizeof(word));
    MixTrace(word);
  }
  word = 0;
  std::memcpy(&word, text.data(), text.size());
  MixTrace(word);
}

size_t Scheduler::live_coroutines() const { return impl_->live.size(); }

// ---- Running -----------------------------------------------------------------------------------

bool Scheduler::has_ready() const { return !impl_->ready.empty(); }

size_t Scheduler::RunReady(size_t budget) {
  DrivingScope driving(*this);
  if (!impl_->ready.empty()) turn_began_ = Now();
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
  DrivingScope driving(*this);
  const Nanoseconds now = Now();
  // A timer that a callback arms waits for the next call, even if it is already due: one that
  // re-arms itself must not keep everybody else from running.
  const uint64_t armed_before = next_timer_sequence_;
  size_t fired = 0;
  for (auto each = impl_->timers.begin(); each != impl_->timers.end();) {
    if (each->first.first > now) break;
    if (each->first.second >= armed_before) {
      ++each;
      continue;
    }
    Fire(*each->second);
    ++fired;
    each = impl_->timers.begin();
  }
  return fired;
}

void Scheduler::Fire(Timer& timer) {
  Disarm(timer);
  timer.callback_(timer.context_);
}

Nanoseconds Scheduler::NextTimer() const {
  return impl_->timers.empty() ? kNever : impl_->timers.begin()->first.first;
}

size_t Scheduler::ChooseSlow(ChoiceKind kind, absl::Span<const Option> options) {
  const size_t chosen = decider_->Pick(kind, options);
  MILLRACE_CHECK(chosen < options.size(), "decider picked an option that does not exist");
  return chosen;
}

void Scheduler::RemoveStepSource(StepSource* source) { std::erase(sources_, source); }

// ---- Invariants --------------------------------------------------------------------------------

void Scheduler::RemoveInvariantChecker(InvariantChecker* checker) {
  std::erase(checkers_, checker);
}

absl::Status Scheduler::CheckInvariants() {
  for (InvariantChecker* checker : checkers_) MILLRACE_RETURN_IF_ERROR(checker->CheckInvariants());
  return absl::OkStatus();
}

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

void Scheduler::SwitchOnTimeline(CoroutineState* coroutine) {
  // Its stack, and its name with it, may be gone afterwards.
  const std::string name(coroutine->name());
  TimelineSpan span;
  span.kind = TimelineSpan::Kind::kStep;
  span.name = name;
  span.detail = coroutine->parked_at;
  span.id = coroutine->number;
  span.begin = Now();
  ExecutionContext::Switch(impl_->main, coroutine->context);
  if (timeline_ == nullptr) return;  // the step has ended the timeline
  span.end = Now();
  timeline_->OnSpan(span);
}

}  // namespace millrace
