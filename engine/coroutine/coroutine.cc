#include "millrace/engine/coroutine/coroutine.h"

#include "millrace/engine/coroutine/coroutine_state.h"
#include "millrace/engine/scheduler/scheduler.h"

namespace millrace {
namespace {

const CoroutineState& StateOf(const Coroutine& coroutine) {
  return static_cast<const CoroutineState&>(coroutine);
}

}  // namespace

Coroutine* Coroutine::Current() {
  Scheduler* scheduler = Scheduler::Current();
  return scheduler == nullptr ? nullptr : scheduler->running();
}

std::string_view Coroutine::name() const {
  return {StateOf(*this).label, StateOf(*this).label_bytes};
}
uint64_t Coroutine::id() const { return StateOf(*this).number; }
Scheduler& Coroutine::scheduler() const { return *StateOf(*this).home; }
bool Coroutine::is_cancelled() const { return StateOf(*this).cancelled; }
std::string_view Coroutine::yield_point() const { return StateOf(*this).parked_at; }
const Waitable* Coroutine::waits_on() const { return StateOf(*this).parked_on; }

void Suspend(const char* yield_point, const Waitable* on) {
  Scheduler* scheduler = Scheduler::Current();
  MILLRACE_CHECK(scheduler != nullptr && scheduler->running() != nullptr,
                 "suspended outside a coroutine");
  scheduler->SuspendRunning(yield_point, on);
}

void CoYield(const char* yield_point) {
  Scheduler* scheduler = Scheduler::Current();
  MILLRACE_CHECK(scheduler != nullptr && scheduler->running() != nullptr,
                 "suspended outside a coroutine");
  scheduler->YieldRunning(yield_point);
}

}  // namespace millrace
