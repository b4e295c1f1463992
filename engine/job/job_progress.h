// JobProgress: how far a job is, in its own unit (bytes, for all of ours). Internal;
// not installed.
//
// `current` only grows, by work done; `total` is current plus what remains, so it may go either way
// while a job learns how much there is to do. Neither passes UINT64_MAX: a job that says nonsense
// shows too little and never a total below current.
#ifndef MILLRACE_ENGINE_JOB_JOB_PROGRESS_H_
#define MILLRACE_ENGINE_JOB_JOB_PROGRESS_H_

#include <cstdint>

namespace millrace {

class JobProgress {
 public:
  uint64_t current() const { return current_; }
  uint64_t total() const { return Sum(current_, remaining_); }

  void SetRemaining(uint64_t remaining) { remaining_ = remaining; }
  void AddRemaining(uint64_t delta) { remaining_ = Sum(remaining_, delta); }
  // Moves `done` from remaining to current; work that was not foreseen makes the total grow.
  void Advance(uint64_t done) {
    current_ = Sum(current_, done);
    remaining_ -= done < remaining_ ? done : remaining_;
  }

 private:
  static uint64_t Sum(uint64_t a, uint64_t b) { return a + b < a ? UINT64_MAX : a + b; }

  uint64_t current_ = 0;
  uint64_t remaining_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_JOB_PROGRESS_H_
