#include "millrace/engine/coroutine/coroutine.h"

#include <algorithm>

#include "millrace/engine/coroutine/coroutine_state.h"
#include "millrace/engine/scheduler/scheduler_impl.h"

namespace millrace {
namespace {

const CoroutineState& StateOf(const Coroutine& coroutine) {
  return static_cast<const CoroutineState&>(coroutine);
}

}  // namespace

void CoroutineState::SetLongLabel(std::string_view name) {
  constexpr std::string_view kGap = "...";
  constexpr size_t kEnd = (kLabelBytesMax - kGap.size()) / 2;
  label_bytes = 2 * kEnd + kGap.size();
  char* end = std::copy_n(name.data(), kEnd, label);
  end = std::copy_n(kGap.data(), kGap.size(), end);
  std::copy_n(name.data() + name.size() - kEnd, kEnd, end);
}

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
  Scheduler::OfRunning().SuspendRunning(yield_point, on);
}

void CoYield(const char* yield_point) { Scheduler::OfRunning().YieldRunning(yield_point); }

}  // namespace millrace
