#include "millrace/engine/sync/wait_queue.h"

#include "absl/container/inlined_vector.h"
#include "millrace/engine/coroutine/coroutine_state.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/engine/scheduler/scheduler_impl.h"

namespace millrace {

void WaitQueue::CoWait(const char* yield_point, const Waitable* on) {
  Scheduler& scheduler = Scheduler::OfRunning();
  Waiter waiter;
  waiter.coroutine = scheduler.running();
  waiter.queue = this;
  waiters_.PushBack(waiter);
  scheduler.SuspendRunning(yield_point, on);
}

absl::Status WaitQueue::CoWaitCancellable(const char* yield_point, const Waitable* on) {
  Scheduler& scheduler = Scheduler::OfRunning();
  CoroutineState* self = scheduler.running();
  if (self->cancelled) return absl::CancelledError("cancelled");
  Waiter waiter;
  waiter.coroutine = self;
  waiter.queue = this;
  waiters_.PushBack(waiter);
  self->cancellable_waiter = &waiter;
  scheduler.SuspendRunning(yield_point, on);
  return waiter.was_cancelled ? absl::CancelledError("cancelled") : absl::OkStatus();
}

const Coroutine* WaitQueue::WakeOneAndName() {
  if (waiters_.empty()) return nullptr;
  Waiter* waiter = waiters_.front();
  Scheduler* scheduler = waiter->coroutine->home;
  if (scheduler->decider() != nullptr && waiters_.size() > 1) {
    absl::InlinedVector<Option, 8> options;
    for (Waiter* each = waiter; each != nullptr; each = waiters_.After(*each)) {
      options.push_back(
          {each->coroutine->number, each->coroutine->name(), each->coroutine->parked_at});
    }
    const size_t chosen = scheduler->Choose(ChoiceKind::kWake, options);
    MILLRACE_SOMETIMES(chosen > 0, "wait queue: somebody is woken out of turn");
    waiter = waiters_.At(chosen);
  }
  Wake(*waiter);
  return waiter->coroutine;
}

size_t WaitQueue::WakeAll() {
  size_t woken = 0;
  for (; Waiter* waiter = waiters_.front(); ++woken) Wake(*waiter);
  return woken;
}

void WaitQueue::Cancel(Waiter& waiter) {
  waiter.was_cancelled = true;
  Wake(waiter);
}

void WaitQueue::Wake(Waiter& waiter) {
  waiters_.Remove(waiter);
  waiter.coroutine->cancellable_waiter = nullptr;
  waiter.coroutine->home->Wake(waiter.coroutine);
}

}  // namespace millrace
