#include "millrace/engine/sync/mutex.h"

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/exploration_site.h"

namespace millrace {

Mutex::~Mutex() { MILLRACE_CHECK(!is_locked(), "mutex destroyed while locked"); }

bool Mutex::is_held_by_me() const {
  const Coroutine* self = Coroutine::Current();
  return self != nullptr && self->id() == owner_id_;
}

void Mutex::CoLock() {
  // The unlocker makes the woken waiter the owner before it runs, so there is nothing to re-check.
  MILLRACE_MUTANT(kR20c) {
    if (!TryLock()) waiters_.CoWait("mutex.lock", this);
    owner_id_ = Coroutine::Current()->id();
    return;
  }
  if (MILLRACE_BUGGIFY("mutex: yields before it locks")) CoYield("mutex.odd");
  if (!TryLock()) waiters_.CoWait("mutex.lock", this);
}

bool Mutex::TryLock() {
  const Coroutine* self = Coroutine::Current();
  MILLRACE_CHECK(self != nullptr, "mutex locked outside a coroutine");
  MILLRACE_CHECK(owner_id_ != self->id(), "mutex locked twice by one coroutine");
  internal::TouchHere("mutex", name_, StepAccess::kWrite);
  if (is_locked()) return false;
  owner_id_ = self->id();
  return true;
}

void Mutex::Unlock() {
  MILLRACE_CHECK(is_held_by_me(), "mutex unlocked by a coroutine that does not hold it");
  internal::TouchHere("mutex", name_, StepAccess::kWrite);
  MILLRACE_MUTANT(kR20c) {  // free until the woken one runs
    owner_id_ = 0;
    waiters_.WakeOne();
    return;
  }
  const Coroutine* next = waiters_.WakeOneAndName();
  owner_id_ = next == nullptr ? 0 : next->id();
}

void Mutex::DescribeWait(WaitDescription& description) const {
  description.object = StrCat("mutex '", name_, "'");
  if (is_locked()) description.coroutines.push_back(owner_id_);
}

}  // namespace millrace
