#include "millrace/engine/io/helper_threads.h"

#include <pthread.h>
#include <signal.h>

#include <system_error>

#include "millrace/engine/base/check.h"
#include "millrace/engine/io/blocking_io.h"

namespace millrace {
namespace {

// Threads inherit the signal mask of their creator.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous_);
  }
  ~AllSignalsBlocked() { pthread_sigmask(SIG_SETMASK, &previous_, nullptr); }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  sigset_t previous_;
};

}  // namespace

HelperThreads::HelperThreads(size_t threads_max, WakeEvent& wake)
    : threads_max_(threads_max), wake_(wake) {}

HelperThreads::~HelperThreads() {
  {
    const std::lock_guard lock(mutex_);
    MILLRACE_CHECK(queued_.empty() && done_.empty(), "I/O threads stopped with requests in flight");
    is_stopping_ = true;
    work_arrived_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
}

void HelperThreads::Start(IoRequestList& requests) {
  if (requests.empty()) return;
  size_t woken = 0;
  bool are_done = false;
  {
    const std::lock_guard lock(mutex_);
    const size_t arrived = requests.size();
    queued_.TakeAll(requests);
    StartThreads();
    woken = std::min(arrived, idle_);
    are_done = threads_.empty();
    while (IoRequest* request = are_done ? queued_.PopFront() : nullptr) {
      request->result = PerformBlocking(*request);
      done_.PushBack(*request);
    }
    if (are_done) has_done_.store(true, std::memory_order_release);
  }
  // Unlocked: whoever wakes would only wait for the lock.
  for (; woken > 0; --woken) work_arrived_.notify_one();
  if (are_done) wake_.Ring();
}

void HelperThreads::StartThreads() {
  if (queued_.size() <= idle_ || threads_.size() >= threads_max_) return;
  const AllSignalsBlocked blocked;
  size_t wanted = queued_.size() - idle_;
  try {
    for (; wanted > 0 && threads_.size() < threads_max_; --wanted) {
      threads_.emplace_back([this] { Work(); });
    }
  } catch (const std::system_error&) {
    // The threads there are must do.
  }
}

void HelperThreads::Work() {
  pthread_setname_np(pthread_self(), "millrace-io");
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    work_arrived_.wait(lock, [this] { return !queued_.empty() || is_stopping_; });
    --idle_;
    IoRequest* request = queued_.PopFront();
    if (request == nullptr) return;
    lock.unlock();
    request->result = PerformBlocking(*request);
    lock.lock();
    const bool is_first = done_.empty();
    done_.PushBack(*request);
    if (!is_first) continue;  // whoever was first rings for all
    has_done_.store(true, std::memory_order_release);
    lock.unlock();
    wake_.Ring();
    lock.lock();
  }
}

void HelperThreads::Reap(IoRequestList& done) {
  if (!has_done_.load(std::memory_order_acquire)) return;
  const std::lock_guard lock(mutex_);
  has_done_.store(false, std::memory_order_relaxed);
  done.TakeAll(done_);
}

}  // namespace millrace
