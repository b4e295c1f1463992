// HelperThreads: a small pool of threads that do what would block the home thread. Internal; not
// installed.
//
// Requests go in from the home thread and come back to it; what runs between is PerformBlocking().
// Threads are started when there is more work than idle threads, up to a limit, and live until the
// pool is destroyed. They block all signals, which stay the embedder's. Where the host refuses even
// one thread, the home thread does the work itself: slow, but right.
#ifndef MILLRACE_ENGINE_IO_HELPER_THREADS_H_
#define MILLRACE_ENGINE_IO_HELPER_THREADS_H_

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

#include "millrace/engine/io/io_backend.h"
#include "millrace/engine/io/wake_event.h"

namespace millrace {

class HelperThreads {
 public:
  // `wake` is rung when results are there; it must outlive the pool.
  HelperThreads(size_t threads_max, WakeEvent& wake);
  // Joins the threads. Every request must have been reaped (checked).
  ~HelperThreads();
  HelperThreads(const HelperThreads&) = delete;
  HelperThreads& operator=(const HelperThreads&) = delete;

  // Home thread. Takes all of `requests`.
  void Start(IoRequestList& requests);
  // Home thread. Appends what is done, with `result` set, to `done`.
  void Reap(IoRequestList& done);

 private:
  void StartThreads();  // under mutex_
  void Work();

  const size_t threads_max_;
  WakeEvent& wake_;
  std::atomic<bool> has_done_ = false;
  // Under mutex_ (of std, whose hand-over ThreadSanitizer sees) down to is_stopping_.
  std::mutex mutex_;
  std::condition_variable work_arrived_;
  IoRequestList queued_;
  IoRequestList done_;
  size_t idle_ = 0;
  bool is_stopping_ = false;
  std::vector<std::thread> threads_;  // home thread
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_HELPER_THREADS_H_
