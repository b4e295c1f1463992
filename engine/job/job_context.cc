#include "millrace/engine/job/job_context.h"

#include "millrace/engine/job/job.h"

namespace millrace {

const std::string& JobContext::id() const { return job_.id(); }
JobNumber JobContext::number() const { return job_.number(); }
JobState JobContext::state() const { return job_.state(); }
ConflictHolder JobContext::holder() const { return job_.holder(); }
bool JobContext::is_kept_for_dismissal() const { return job_.is_kept_for_dismissal(); }
Quiescable& JobContext::quiescable() const { return job_; }

void JobContext::CoPausePoint() { job_.CoPausePoint(); }
void JobContext::CoSleep(Nanoseconds duration) {
  job_.CoSleepUntil(job_.scheduler_.Now() + duration);
}
void JobContext::CoIdle() { job_.CoSleepUntil(kNever); }
void JobContext::Kick() { job_.Kick(); }

void JobContext::CoBeforePiece() { job_.CoBeforePiece(); }
void JobContext::AccountBytes(uint64_t bytes) {
  // The delay is asked for again before the next piece.
  job_.limiter_.Account(job_.scheduler_.Now(), bytes);
}
int64_t JobContext::speed() const { return job_.speed_; }

bool JobContext::is_cancelled() const { return job_.is_cancelled(); }
bool JobContext::is_cancel_requested() const { return job_.is_cancel_requested(); }

void JobContext::BecomeReady() { job_.BecomeReady(); }
bool JobContext::is_ready() const { return job_.is_ready(); }
void JobContext::SetRemaining(uint64_t remaining) { job_.progress_.SetRemaining(remaining); }
void JobContext::AddRemaining(uint64_t delta) { job_.progress_.AddRemaining(delta); }
void JobContext::Advance(uint64_t done) { job_.progress_.Advance(done); }

ErrorAction JobContext::HandleError(OnError policy, IoOperation operation,
                                    const absl::Status& status) {
  return job_.HandleError(policy, operation, status);
}

}  // namespace millrace
