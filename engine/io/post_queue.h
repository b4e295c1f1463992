// PostQueue: functions and doorbells on their way from any thread to the home thread. Internal; not
// installed.
#ifndef MILLRACE_ENGINE_IO_POST_QUEUE_H_
#define MILLRACE_ENGINE_IO_POST_QUEUE_H_

#include <pthread.h>

#include <atomic>
#include <mutex>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/io/doorbell.h"

namespace millrace {

class PostQueue {
 public:
  // Whoever drives the engine looks here before it waits.
  enum class Pusher : bool { kAnybody, kDriver };

  // Any thread. True: the home thread must be interrupted, as nobody has done so since it last took
  // what was here. Not for what its driver pushes; but that does not speak for others, who cannot
  // know whether the driver is about to look or has left again.
  bool Push(absl::AnyInvocable<void()> function, Pusher pusher);
  bool Push(Doorbell& bell, Pusher pusher);
  // Whether it was made on this thread.
  bool IsHomeThread() const { return pthread_equal(pthread_self(), home_thread_) != 0; }
  bool has_work() const { return has_work_.load(std::memory_order_acquire); }

  // Home thread. Calls what has arrived by now; returns how many.
  size_t RunAll();
  // Home thread. The bell is going away.
  void Forget(Doorbell& bell);

 private:
  using Doorbells = IntrusiveList<Doorbell, &Doorbell::link_>;

  bool MustInterrupt(Pusher pusher);

  const pthread_t home_thread_ = pthread_self();
  std::atomic<bool> has_work_ = false;
  // Not absl::Mutex: ThreadSanitizer does not see the one in a packaged Abseil, which was built
  // without it, and would report every hand-over as a race.
  std::mutex mutex_;
  std::vector<absl::AnyInvocable<void()>> functions_;  // under mutex_
  Doorbells rung_;                                     // under mutex_
  bool is_interrupted_ = false;                        // under mutex_
  Doorbells due_;                                      // home thread: about to be answered
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_POST_QUEUE_H_
