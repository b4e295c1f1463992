#include "millrace/engine/sync/range_lock.h"

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/exploration_site.h"

namespace millrace {

bool RangeLock::Conflicts(const Hold& earlier, const Hold& later) {
  const bool both_shared = earlier.mode_ == LockMode::kShared && later.mode_ == LockMode::kShared;
  return !both_shared && earlier.range_.Overlaps(later.range_);
}

bool RangeLock::MustWait(const Hold& hold) const {
  MILLRACE_MUTANT(kR14) {  // for whoever overlaps, also for those that wait for it
    for (const Hold* each = holds_.front(); each != nullptr; each = holds_.After(*each)) {
      if (each != &hold && Conflicts(*each, hold)) return true;
    }
    return false;
  }
  for (const Hold* each = holds_.front(); each != &hold; each = holds_.After(*each)) {
    if (Conflicts(*each, hold)) return true;
  }
  return false;
}

void RangeLock::Enter(ByteRange range, LockMode mode, Hold& hold) {
  MILLRACE_CHECK(hold.lock_ == nullptr, "range lock acquired into a hold that is in use");
  internal::TouchHere("range lock", name_, StepAccess::kWrite);
  const Coroutine* self = Coroutine::Current();
  hold.lock_ = this;
  hold.range_ = range;
  hold.mode_ = mode;
  hold.owner_id_ = self == nullptr ? 0 : self->id();
  holds_.PushBack(hold);
  hold.is_granted_ = !MustWait(hold);
}

void RangeLock::CoAcquire(ByteRange range, LockMode mode, Hold& hold) {
  if (MILLRACE_BUGGIFY("range lock: yields before it acquires")) CoYield("range_lock.odd");
  Enter(range, mode, hold);
  if (hold.is_granted_) return;
  ++waiting_;
  hold.queue_.CoWait("range_lock.acquire", &hold);
  MILLRACE_CHECK(hold.is_granted_, "range lock woke a waiter that it did not grant");
}

bool RangeLock::TryAcquire(ByteRange range, LockMode mode, Hold& hold) {
  Enter(range, mode, hold);
  if (hold.is_granted_) return true;
  holds_.Remove(hold);
  hold.lock_ = nullptr;
  return false;
}

void RangeLock::Hold::Release() {
  if (lock_ == nullptr) return;
  MILLRACE_CHECK(is_granted_, "range lock released while its acquirer still waits");
  RangeLock* lock = lock_;
  internal::TouchHere("range lock", lock->name_, StepAccess::kWrite);
  lock_ = nullptr;
  is_granted_ = false;
  lock->holds_.Remove(*this);
  if (lock->waiting_ > 0) lock->GrantAfterRelease();
}

void RangeLock::GrantAfterRelease() {
  for (Hold* each = holds_.front(); each != nullptr; each = holds_.After(*each)) {
    if (each->is_granted_ || MustWait(*each)) continue;
    each->is_granted_ = true;
    --waiting_;
    MILLRACE_SOMETIMES(waiting_ > 0, "range lock: one waiter is granted, another goes on waiting");
    each->queue_.WakeOne();
  }
}

bool RangeLock::IsBusy(ByteRange range) const {
  for (const Hold* each = holds_.front(); each != nullptr; each = holds_.After(*each)) {
    if (each->range_.Overlaps(range)) return true;
  }
  return false;
}

void RangeLock::Hold::DescribeWait(WaitDescription& description) const {
  description.object = StrCat("bytes ", range_.ToString(), " of range lock '", lock_->name_, "'");
  const auto& holds = lock_->holds_;
  for (const Hold* each = holds.front(); each != this; each = holds.After(*each)) {
    if (Conflicts(*each, *this)) description.coroutines.push_back(each->owner_id_);
  }
}

}  // namespace millrace
