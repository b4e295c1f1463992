#include "millrace/engine/explore/footprint.h"

#include "millrace/engine/base/check.h"
#include "millrace/engine/explore/exploring_decider.h"
#include "millrace/engine/scheduler/scheduler.h"

namespace millrace {
namespace {

StepObserver* ObserverOfThisThread() {
  Scheduler* scheduler = Scheduler::Current();
  return scheduler == nullptr ? nullptr : scheduler->observer();
}

}  // namespace

FootprintScope::FootprintScope(std::initializer_list<std::string_view> objects)
    : observer_(ObserverOfThisThread()) {
  MILLRACE_CHECK(Coroutine::Current() != nullptr, "footprint scope opened outside a coroutine");
  if (observer_ == nullptr) return;
  observer_->OnFootprint(true);
  for (std::string_view object : objects) {
    observer_->OnTouch(kTouchedByEveryStep, object, StepAccess::kWrite);
  }
}

FootprintScope::~FootprintScope() {
  if (observer_ != nullptr) observer_->OnFootprint(false);
}

void TouchShared(std::string_view object, StepAccess access) {
  if (StepObserver* observer = ObserverOfThisThread()) {
    observer->OnTouch(kTouchedByOneStep, object, access);
  }
}

}  // namespace millrace
