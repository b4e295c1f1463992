#include "millrace/engine/sync/range_lock.h"

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"

namespace millrace {

bool RangeLock::Conflicts(const Hold& earlier, const Hold& later) const {
  const bool both_shared = earlier.mode_ == LockMode::kShared && later.mode_ == LockMode::kShared;
  return !both_shared && earlier.range_.Overlaps(later.range_);
}

bool RangeLock::MustWait(const Hold& hold) const {
  for (const Hold* each = holds_.front(); each != &hold; each = holds_.After(*each)) {
    if (Conflicts(*each, hold)) return true;
  }
  return false;
}

void RangeLock::Enter(ByteRange range, LockMode mode, Hold& hold) {
  MILLRACE_CHECK(!hold.is_held(), "range lock acquired into a hold that is in use");
  hold.lock_ = this;
  hold.range_ = range;
  hold.mode_ = mode;
  hold.owner_ = Coroutine::Current();
  hold.is_granted_ = false;
  holds_.PushBack(hold);
}

void RangeLock::CoAcquire(ByteRange range, LockMode mode, Hold& hold) {
  Enter(range, mode, hold);
  if (MustWait(hold)) {
    hold.queue_.CoWait("range_lock.acquire", this);
    MILLRACE_CHECK(hold.is_granted_, "range lock woke a waiter that it did not grant");
  }
  hold.is_granted_ = true;
}

bool RangeLock::TryAcquire(ByteRange range, LockMode mode, Hold& hold) {
  Enter(range, mode, hold);
  if (MustWait(hold)) {
    holds_.Remove(hold);
    hold.lock_ = nullptr;
    return false;
  }
  hold.is_granted_ = true;
  return true;
}

void RangeLock::Hold::Release() {
  if (lock_ == nullptr) return;
  RangeLock* lock = lock_;
  lock_ = nullptr;
  lock->holds_.Remove(*this);
  lock->GrantAfterRelease();
}

void RangeLock::GrantAfterRelease() {
  for (Hold* each = holds_.front(); each != nullptr; each = holds_.After(*each)) {
    if (each->is_granted_ || MustWait(*each)) continue;
    each->is_granted_ = true;
    each->queue_.WakeOne();
  }
}

bool RangeLock::IsBusy(ByteRange range) const {
  for (const Hold* each = holds_.front(); each != nullptr; each = holds_.After(*each)) {
    if (each->range_.Overlaps(range)) return true;
  }
  return false;
}

void RangeLock::DescribeWait(WaitDescription& description) const {
  description.object = StrCat("range lock '", name_, "'");
  for (const Hold* each = holds_.front(); each != nullptr; each = holds_.After(*each)) {
    if (!each->is_granted_) continue;
    description.holders.push_back(
        StrCat("coroutine '", std::string(each->owner_ == nullptr ? "?" : each->owner_->name()),
               "' holds ", each->range_.ToString()));
    if (each->owner_ != nullptr) description.coroutines.push_back(each->owner_->id());
  }
}

}  // namespace millrace
