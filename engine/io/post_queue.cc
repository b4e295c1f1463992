#include "millrace/engine/io/post_queue.h"

#include <utility>

namespace millrace {

bool PostQueue::Push(absl::AnyInvocable<void()> function) {
  const std::lock_guard lock(mutex_);
  functions_.push_back(std::move(function));
  return !has_work_.exchange(true, std::memory_order_release);
}

bool PostQueue::Push(Doorbell& bell) {
  const std::lock_guard lock(mutex_);
  rung_.PushBack(bell);
  const bool was_empty = !has_work_.exchange(true, std::memory_order_release);
  return was_empty && std::this_thread::get_id() != home_thread_;
}

size_t PostQueue::RunAll() {
  std::vector<absl::AnyInvocable<void()>> functions;
  {
    const std::lock_guard lock(mutex_);
    has_work_.store(false, std::memory_order_relaxed);
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
