#include "millrace/engine/sync/mutex.h"

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"

namespace millrace {

Mutex::~Mutex() { MILLRACE_CHECK(owner_ == nullptr, "mutex destroyed while locked"); }

void Mutex::CoLock() {
  MILLRACE_CHECK(!is_held_by_me(), "mutex locked twice by one coroutine");
  // The unlocker makes the woken waiter the owner before it runs, so there is nothing to re-check.
  if (!TryLock()) waiters_.CoWait("mutex.lock", this);
}

bool Mutex::TryLock() {
  if (owner_ != nullptr) return false;
  owner_ = Coroutine::Current();
  MILLRACE_CHECK(owner_ != nullptr, "mutex locked outside a coroutine");
  return true;
}

void Mutex::Unlock() {
  MILLRACE_CHECK(owner_ != nullptr, "mutex unlocked but not locked");
  owner_ = waiters_.WakeOneAndName();
}

void Mutex::DescribeWait(WaitDescription& description) const {
  description.object = StrCat("mutex '", name_, "'");
  if (owner_ == nullptr) return;
  description.holders.push_back(StrCat("coroutine '", owner_->name(), "'"));
  description.coroutines.push_back(owner_->id());
}

}  // namespace millrace
