// JobTransaction: jobs that finish together, or not at all. Every job is in one, most in
// one of their own; to clients it is the opaque thing that JobManager::NewTransaction() returns and
// JobSpec takes. Internal; not installed.
//
//   open        members work; each arrives here when its CoRun() has returned
//   pending     all have arrived; waits for finalize unless all members finalize automatically
//   finalizing  from the first CoPrepare(): nothing but a failure stops it any more
//   committed   all edits are applied; each member in turn follows up, cleans and concludes
//   aborting    a member failed or was cancelled: the others are cancelled by force and waited for;
//               each in turn aborts, cleans and concludes
//   over        no members are left
//
// One member's coroutine coordinates: the last to arrive, the one that failed, or the one that was
// finalized or cancelled. It runs the other members' completion hooks too, each as a step of the
// member in question. The others wait for their own end. Members are visited newest first.
#ifndef MILLRACE_ENGINE_JOB_JOB_TRANSACTION_H_
#define MILLRACE_ENGINE_JOB_JOB_TRANSACTION_H_

#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "millrace/engine/job/job.h"
#include "millrace/engine/job/job_committer.h"
#include "millrace/engine/sync/wait_queue.h"

namespace millrace {

class JobTransaction final : private Waitable {
 public:
  explicit JobTransaction(JobCommitter& committer) : committer_(committer) {}

  // Whether members may still be added.
  bool is_open() const { return !is_closed_; }
  // From the first CoPrepare() on.
  bool is_past_return() const {
    return phase_ == Phase::kFinalizing || phase_ == Phase::kCommitted;
  }

  void Add(Job& job);
  // A member that could not be started leaves. The others, if any, cannot finish without it.
  void Remove(Job& job);

  // The job's CoRun() has returned `result`, in a step of the job, which ends here. Returns when
  // the job is over and this coroutine has nothing to coordinate any more.
  void CoArrive(Job& job, absl::Status result) MILLRACE_MAY_SUSPEND;
  // The same for a job that was cancelled before it was started.
  void CoArriveUnstarted(Job& job) MILLRACE_MAY_SUSPEND;

  // Cancels a member that is not past the point of return. False if it was never started and no
  // coroutine could be had to clean it up; then nothing has changed.
  bool Cancel(Job& job, bool force);

  // Whether a member in state pending can be finalized: it is not too late, and was not asked for.
  bool can_finalize() const { return phase_ == Phase::kPending && !is_finalize_requested_; }
  void RequestFinalize(Job& job);

 private:
  enum class Phase : uint8_t { kOpen, kPending, kFinalizing, kCommitted, kAborting, kOver };
  using Members = absl::InlinedVector<Job*, 1>;

  void Settle(Job& job, absl::Status result);
  void CoServe(Job& job) MILLRACE_MAY_SUSPEND;
  void CoCoordinate() MILLRACE_MAY_SUSPEND;
  void CoMakePending() MILLRACE_MAY_SUSPEND;
  void CoFinalize() MILLRACE_MAY_SUSPEND;
  bool CoPrepareAll() MILLRACE_MAY_SUSPEND;
  absl::StatusOr<CommitOutcome> CoCommitAll() MILLRACE_MAY_SUSPEND;
  void CoFinishAll() MILLRACE_MAY_SUSPEND;
  void CoFinish(Job& job) MILLRACE_MAY_SUSPEND;
  // `trigger` (may be null) keeps its own result; the others are cancelled.
  void BeginAbort(Job* trigger);
  void Appoint(Job& job);
  bool all_have_arrived() const;

  void DescribeWait(WaitDescription& description) const override;

  JobCommitter& committer_;
  Phase phase_ = Phase::kOpen;
  Members members_;  // newest first
  bool is_closed_ = false;
  bool is_finalize_requested_ = false;
  Job* coordinator_ = nullptr;  // whose coroutine drives it now
  WaitQueue changed_;           // members that wait for their end, or for the others to arrive
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_JOB_TRANSACTION_H_
