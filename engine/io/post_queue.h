// PostQueue: functions on their way from any thread to the home thread. Internal; not installed.
#ifndef MILLRACE_ENGINE_IO_POST_QUEUE_H_
#define MILLRACE_ENGINE_IO_POST_QUEUE_H_

#include <atomic>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"

namespace millrace {

class PostQueue {
 public:
  // Any thread. True if the queue was empty: the home thread must be interrupted.
  bool Push(absl::AnyInvocable<void()> function) {
    std::lock_guard lock(mutex_);
    functions_.push_back(std::move(function));
    return !has_work_.exchange(true, std::memory_order_release);
  }
  bool has_work() const { return has_work_.load(std::memory_order_acquire); }
  // Home thread.
  std::vector<absl::AnyInvocable<void()>> TakeAll() {
    if (!has_work()) return {};
    std::lock_guard lock(mutex_);
    has_work_.store(false, std::memory_order_relaxed);
    return std::exchange(functions_, {});
  }

 private:
  std::atomic<bool> has_work_ = false;
  // Not absl::Mutex: ThreadSanitizer does not see the one in a packaged Abseil, which was built
  // without it, and would report every hand-over as a race.
  std::mutex mutex_;
  std::vector<absl::AnyInvocable<void()>> functions_;  // guarded by mutex_
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_POST_QUEUE_H_
