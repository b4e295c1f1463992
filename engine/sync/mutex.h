// Mutex: mutual exclusion among coroutines of one scheduler, held across suspensions.
//
// First come, first served in production; tests try every order, so rely on none. Ownership is
// handed over on unlock, so that a newcomer cannot slip in between wake and run (race R20). The
// coroutine that locked it unlocks it; not recursive (both checked). Not cancellable. The holder's
// name shows in wait reports. It protects nothing from other threads: there are none on a home
// thread.
#ifndef MILLRACE_ENGINE_SYNC_MUTEX_H_
#define MILLRACE_ENGINE_SYNC_MUTEX_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "millrace/engine/sync/wait_queue.h"

namespace millrace {

class Mutex final : public Waitable {
 public:
  explicit Mutex(std::string_view name) : name_(name) {}
  ~Mutex();

  void CoLock() MILLRACE_MAY_SUSPEND;
  bool TryLock();
  void Unlock();
  bool is_locked() const { return owner_id_ != 0; }
  bool is_held_by_me() const;

  void DescribeWait(WaitDescription& description) const override;

 private:
  const std::string name_;
  uint64_t owner_id_ = 0;  // of a coroutine; 0 while unlocked
  WaitQueue waiters_;
};

// Holds a mutex for a block. CoLock first, then construct:  MutexLock lock(CoHold(mutex));
class [[nodiscard]] MutexLock {
 public:
  // Adopts a mutex that the caller holds.
  explicit MutexLock(Mutex& held) : mutex_(&held) {}
  ~MutexLock() { Release(); }
  MutexLock(MutexLock&& other) noexcept : mutex_(other.mutex_) { other.mutex_ = nullptr; }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  // Unlocks early.
  void Release() {
    if (mutex_ != nullptr) mutex_->Unlock();
    mutex_ = nullptr;
  }

 private:
  Mutex* mutex_;
};

// Locks, and unlocks when the result goes.
inline MutexLock CoHold(Mutex& mutex) MILLRACE_MAY_SUSPEND {
  mutex.CoLock();
  return MutexLock(mutex);
}

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SYNC_MUTEX_H_
