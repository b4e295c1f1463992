// One step of a simulation: what can happen now, and which of it does.
#include <vector>

#include "millrace/engine/coroutine/coroutine_state.h"
#include "millrace/engine/scheduler/scheduler.h"
#include "millrace/engine/scheduler/scheduler_impl.h"

namespace millrace {

bool Scheduler::RunOneStep() {
  bool was_taken;
  {
    DrivingScope driving(*this);
    turn_began_ = Now();
    was_taken = decider_ == nullptr ? TakeCanonicalStep() : TakeChosenStep();
  }
  if (__builtin_expect(was_taken && step_check_ != nullptr, 0)) step_check_();
  return was_taken;
}

// The same order as production's turn and as option 0 of TakeChosenStep(), without listing options.
bool Scheduler::TakeCanonicalStep() {
  Timer* timer = impl_->timers.empty() ? nullptr : impl_->timers.begin()->second;
  const bool is_due = timer != nullptr && timer->deadline_ <= Now();
  if (!is_due) {
    if (CoroutineState* next = impl_->ready.PopFront()) {
      Resume(next);
      return true;
    }
    for (StepSource* source : sources_) {
      if (source->EnabledSteps() == 0) continue;
      ++steps_;
      source->TakeStep(0);
      return true;
    }
    if (timer == nullptr || !clock_.AdvanceTo(timer->deadline_)) return false;
  }
  ++steps_;
  Fire(*timer);
  return true;
}

bool Scheduler::TakeChosenStep() {
  std::vector<Option>& options = impl_->options;
  options.clear();
  Timer* timer = impl_->timers.empty() ? nullptr : impl_->timers.begin()->second;
  const size_t due = timer != nullptr && timer->deadline_ <= Now() ? 1 : 0;
  if (due == 1) options.push_back({0, timer->label_, "timer"});
  for (CoroutineState* each = impl_->ready.front(); each != nullptr;
       each = impl_->ready.After(*each)) {
    options.push_back({each->number, each->name(), each->parked_at});
  }
  const size_t coroutines_end = options.size();
  for (StepSource* source : sources_) {
    const size_t enabled = source->EnabledSteps();
    for (size_t i = 0; i < enabled; ++i) options.push_back(source->DescribeStep(i));
  }
  const size_t external_end = options.size();
  // Time passes only when no coroutine can run; then a timer may also beat an I/O that is slow.
  if (timer != nullptr && coroutines_end == 0) options.push_back({0, timer->label_, "timer"});
  if (options.empty()) return false;

  const size_t chosen = Choose(ChoiceKind::kStep, options);
  // A step whose timer lets time pass happens at the end of that time.
  const bool passes_time = chosen >= external_end;
  if (observer_ != nullptr) {
    observer_->OnStep(options[chosen], passes_time ? timer->deadline_ : Now());
  }
  if (chosen >= due && chosen < coroutines_end) {
    CoroutineState* coroutine = impl_->ready.At(chosen - due);
    impl_->ready.Remove(*coroutine);
    Resume(coroutine);
    return true;
  }
  MixTraceText(options[chosen].name);
  if (chosen >= coroutines_end && chosen < external_end) {
    MixTrace(options[chosen].actor);
    ++steps_;
    TakeExternalStep(chosen - coroutines_end);
    return true;
  }
  if (due == 0 && !clock_.AdvanceTo(timer->deadline_)) return false;
  MixTrace(static_cast<uint64_t>(timer->deadline_));
  ++steps_;
  Fire(*timer);
  return true;
}

void Scheduler::TakeExternalStep(size_t index) {
  for (StepSource* source : sources_) {
    const size_t enabled = source->EnabledSteps();
    if (index < enabled) return source->TakeStep(index);
    index -= enabled;
  }
}

}  // namespace millrace
