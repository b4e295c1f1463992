// Semaphore: a number of equal permits. First come, first served: a large request at the head is
// not overtaken by small ones behind it, and a permit is handed over, not thrown into the air.
//
// Its owner outlives whoever waits (checked); home thread only. It does not know who has a permit:
// each one acquired is released once, by whomever.
#ifndef MILLRACE_ENGINE_SYNC_SEMAPHORE_H_
#define MILLRACE_ENGINE_SYNC_SEMAPHORE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/sync/wait_queue.h"

namespace millrace {

class Semaphore final {
 public:
  Semaphore(std::string_view name, uint64_t permits) : name_(name), available_(permits) {}

  // Takes them if they are there and nobody waits before us. Never suspends.
  bool TryAcquire(uint64_t permits = 1);
  // Not cancellable. More permits than there ever are wait for ever.
  void CoAcquire(uint64_t permits = 1) MILLRACE_MAY_SUSPEND;
  // CancelledError (and no permit taken) if the scope is cancelled before the permits are granted.
  absl::Status CoAcquireCancellable(uint64_t permits = 1) MILLRACE_MAY_SUSPEND;
  // Gives them back, or adds new ones; hands them to who waits. Never suspends.
  void Release(uint64_t permits = 1);
  uint64_t available() const { return available_; }

 private:
  // Somebody who waits for permits. Lives on the waiter's stack.
  struct Request final : Waitable {
    Request(const Semaphore& wanted_of, uint64_t wanted) : semaphore(wanted_of), permits(wanted) {}
    void DescribeWait(WaitDescription& description) const override;

    const Semaphore& semaphore;
    const uint64_t permits;
    bool granted = false;
    WaitQueue queue;
    ListLink link;
  };
  void Grant();

  const std::string name_;
  uint64_t available_;
  IntrusiveList<Request, &Request::link> requests_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SYNC_SEMAPHORE_H_
