#include "millrace/engine/io/post_queue.h"

#include <utility>

namespace millrace {

bool PostQueue::Push(absl::AnyInvocable<void()> function, Pusher pusher) {
  const std::lock_guard lock(mutex_);
  functions_.push_back(std::move(function));
  return MustInterrupt(pusher);
}

bool PostQueue::Push(Doorbell& bell, Pusher pusher) {
  const std::lock_guard lock(mutex_);
  rung_.PushBack(bell);
  return MustInterrupt(pusher);
}

bool PostQueue::MustInterrupt(Pusher pusher) {
  has_work_.store(true, std::memory_order_release);
  return pusher == Pusher::kAnybody && !std::exchange(is_interrupted_, true);
}

size_t PostQueue::RunAll() {
  std::vector<absl::AnyInvocable<void()>> functions;
  {
    const std::lock_guard lock(mutex_);
    has_work_.store(false, std::memory_order_relaxed);
    is_interrupted_ = false;
    functions = std::exchange(functions_, {});
    for (Doorbell* bell = rung_.front(); bell != nullptr; bell = rung_.After(*bell)) {
      bell->is_due_ = true;
    }
    due_.TakeAll(rung_);
  }
  size_t count = functions.size();
  for (absl::AnyInvocable<void()>& function : functions) function();
  for (; Doorbell* bell = due_.PopFront(); ++count) {
    bell->is_due_ = false;
    // From here on a ring counts for the next time; what came before it is visible to the callback.
    bell->is_rung_.exchange(false, std::memory_order_acq_rel);
    bell->callback_(bell->context_);  // may destroy the bell
  }
  return count;
}

void PostQueue::Forget(Doorbell& bell) {
  const std::lock_guard lock(mutex_);
  if (bell.link_.is_linked()) (bell.is_due_ ? due_ : rung_).Remove(bell);
}

}  // namespace millrace
