// PostQueue: functions on their way from any thread to the home thread. Internal; not installed.
#ifndef MILLRACE_ENGINE_IO_POST_QUEUE_H_
#define MILLRACE_ENGINE_IO_POST_QUEUE_H_

#include <atomic>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"

namespace millrace {

class PostQueue {
 public:
  // Any thread. True if the queue was empty: the home thread must be interrupted.
  bool Push(absl::AnyInvocable<void()> function) {
    absl::MutexLock lock(&mutex_);
    functions_.push_back(std::move(function));
    return !has_work_.exchange(true, std::memory_order_release);
  }
  bool has_work() const { return has_work_.load(std::memory_order_acquire); }
  // Home thread.
  std::vector<absl::AnyInvocable<void()>> TakeAll() {
    if (!has_work()) return {};
    absl::MutexLock lock(&mutex_);
    has_work_.store(false, std::memory_order_relaxed);
    return std::exchange(functions_, {});
  }

 private:
  std::atomic<bool> has_work_ = false;
  absl::Mutex mutex_;
  std::vector<absl::AnyInvocable<void()>> functions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_POST_QUEUE_H_
