// What a Scheduler owns, and the short path of a switch, inline: every function that returns
// between a switch and the code around it costs a misprediction. Internal; not installed.
#ifndef MILLRACE_ENGINE_SCHEDULER_SCHEDULER_IMPL_H_
#define MILLRACE_ENGINE_SCHEDULER_SCHEDULER_IMPL_H_

#include <memory>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/coroutine/coroutine_state.h"
#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/scheduler/scheduler.h"

namespace millrace {

struct Scheduler::Impl {
  std::unique_ptr<StackPool> own_stacks;
  StackPool* stacks = nullptr;  // its own, or one shared with other schedulers
  ExecutionContext main;
  IntrusiveList<CoroutineState, &CoroutineState::run_link> ready;
  IntrusiveList<CoroutineState, &CoroutineState::live_link> live;
  absl::btree_map<std::pair<Nanoseconds, uint64_t>, Timer*> timers;
  std::vector<Option> options;  // scratch space of one choice
};

inline Scheduler::DrivingScope::DrivingScope(Scheduler& scheduler)
    : scheduler_(scheduler), previous_(internal::current_scheduler) {
  MILLRACE_CHECK(!scheduler.is_driven_,
                 "nested event loop: a scheduler was driven from its own coroutine or callback");
  MILLRACE_CHECK(scheduler.open_views_ == 0,
                 "G9: scheduler driven with a view or transaction open");
  scheduler.is_driven_ = true;
  internal::current_scheduler = &scheduler;
  scheduler.impl_->main.InitAsThread();
}

inline Scheduler::DrivingScope::~DrivingScope() {
  internal::current_scheduler = previous_;
  scheduler_.is_driven_ = false;
}

inline Scheduler& Scheduler::OfRunning() {
  Scheduler* scheduler = internal::current_scheduler;
  MILLRACE_CHECK(scheduler != nullptr && scheduler->running_ != nullptr,
                 "suspended, or opened a scope of its own, outside a coroutine; start one with "
                 "Engine::Run() or TaskScope::Spawn()");
  return *scheduler;
}

inline void Scheduler::Wake(CoroutineState* coroutine) {
  MILLRACE_CHECK(coroutine->phase == CoroutineState::Phase::kSuspended,
                 "I16: woke a coroutine that is not suspended");
  coroutine->phase = CoroutineState::Phase::kReady;
  impl_->ready.PushBack(*coroutine);
}

inline void Scheduler::SuspendRunning(const char* yield_point, const Waitable* on) {
  MILLRACE_CHECK(open_views_ == 0,
                 "G9: suspended with a view or transaction open; end its block before the call");
  CoroutineState* self = running_;
  self->parked_at = yield_point;
  self->parked_since = turn_began_;
  self->parked_on = on;
  self->phase = CoroutineState::Phase::kSuspended;
  ExecutionContext::Switch(self->context, impl_->main);
}

inline void Scheduler::YieldRunning(const char* yield_point) {
  MILLRACE_CHECK(open_views_ == 0,
                 "G9: suspended with a view or transaction open; end its block before the call");
  CoroutineState* self = running_;
  self->parked_at = yield_point;
  self->parked_since = turn_began_;
  self->phase = CoroutineState::Phase::kReady;
  impl_->ready.PushBack(*self);
  ExecutionContext::Switch(self->context, impl_->main);
}

// Runs a coroutine that was taken off the run queue, until it suspends or ends.
__attribute__((always_inline)) inline void Scheduler::Resume(CoroutineState* coroutine) {
  coroutine->phase = CoroutineState::Phase::kRunning;
  coroutine->parked_on = nullptr;
  running_ = coroutine;
  ++steps_;
  if (__builtin_expect(decider_ != nullptr, 0)) {
    MixTrace(coroutine->number);
    MixTraceText(coroutine->parked_at);
  }
  if (__builtin_expect(timeline_ != nullptr, 0)) {
    SwitchOnTimeline(coroutine);
  } else {
    ExecutionContext::Switch(impl_->main, coroutine->context);
  }
  if (running_ == nullptr) Recycle(coroutine);
  running_ = nullptr;
}

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SCHEDULER_SCHEDULER_IMPL_H_
