// JobContext: a job as its body sees it: pause points, pace, progress, errors, and what was asked.
//
//   absl::Status CopyJob::CoRun(JobContext& context) {
//     context.SetRemaining(total);
//     while (offset < total) {
//       context.CoBeforePiece();                        // pace, pause point; yields at least once
//       if (context.is_cancelled()) break;
//       absl::Status status = CoCopyPiece(offset);
//       if (!status.ok()) { switch (context.HandleError(policy, kRead, status)) { ... } }
//       context.AccountBytes(piece); context.Advance(piece); offset += piece;
//     }
//     return absl::OkStatus();
//   }
//
// The Co functions are for CoRun() and what it calls, one caller at a time (checked); the rest may
// be used in every hook. Any of them may return early: cancels, pauses, drains and kicks wake a job
// that sleeps, so loops test what they wait for. What may change while a Co function suspends: the
// whole graph, except what the job leases; whether it is cancelled; its speed.
//
// Valid from JobBody::CoSetUp() until the body is destroyed. Home thread only.
#ifndef MILLRACE_ENGINE_JOB_JOB_CONTEXT_H_
#define MILLRACE_ENGINE_JOB_JOB_CONTEXT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/quiescable.h"
#include "millrace/engine/job/error_policy.h"
#include "millrace/engine/job/job_state.h"
#include "millrace/engine/scheduler/clock.h"

namespace millrace {

class Job;

class JobContext {
 public:
  explicit JobContext(Job& job) : job_(job) {}
  JobContext(const JobContext&) = delete;
  JobContext& operator=(const JobContext&) = delete;

  const std::string& id() const;  // empty for an internal job
  JobNumber number() const;
  JobState state() const;
  // How the job is named as a holder in conflicts: its id, "stream job", and since when it exists.
  ConflictHolder holder() const;
  // Whether the job stays when it is concluded, until the user dismisses it. Asked when it ends:
  // what it only names, so that nobody takes it away, it keeps until then (J4).
  bool is_kept_for_dismissal() const;
  // What drains bring to rest: pass it to attachments as their user, to drained sections as owner.
  Quiescable& quiescable() const;

  // ---- Pause points -----------------------------------------------------------------------------
  // If a pause is wanted (user, drain), parks here until it is over: JobBody::CoStopIo(), state
  // paused (or standby), wait, back to running (or ready), JobBody::OnRestartIo(). Else returns at
  // once without suspending. A job that owns a granted drained section does not park.
  void CoPausePoint() MILLRACE_MAY_SUSPEND;
  // Sleeps for `duration`, or until kicked, then passes a pause point. Suspends at least once even
  // with duration 0, which is how a job that never waits lets others in; a job that is cancelled by
  // force returns at once.
  void CoSleep(Nanoseconds duration) MILLRACE_MAY_SUSPEND;
  // The same without a deadline and without a timer: until Kick(), a verb or a drain.
  void CoIdle() MILLRACE_MAY_SUSPEND;
  // Ends the CoSleep() or CoIdle() in progress, if any; it is not remembered. Does not wake a
  // parked job.
  void Kick();

  // ---- Pace -------------------------------------------------------------------------------------
  // Call before each piece of work: sleeps until the speed limit allows one more, however often it
  // is woken meanwhile, then passes a pause point. The first piece is never delayed.
  void CoBeforePiece() MILLRACE_MAY_SUSPEND;
  // Charges bytes that were copied; what was skipped is free.
  void AccountBytes(uint64_t bytes);
  int64_t speed() const;  // bytes a second; 0 is no limit

  // ---- Cancelling -------------------------------------------------------------------------------
  // Stop now: start nothing new and return from CoRun().
  bool is_cancelled() const;
  // A cancel of either kind. A job in state ready that is not is_cancelled() ends its own way,
  // without doing what `complete` would have done, and counts as completed.
  bool is_cancel_requested() const;

  // ---- State and progress -----------------------------------------------------------------------
  // Running becomes ready: from here on the user may complete the job.
  void BecomeReady();
  bool is_ready() const;
  void SetRemaining(uint64_t remaining);
  void AddRemaining(uint64_t delta);
  void Advance(uint64_t done);

  // ---- Errors -----------------------------------------------------------------------------------
  // Applies the user's policy to one failed operation: says what to do about it, having told the
  // observer. kStop: the job is paused on the user's behalf and parks at its next pause point;
  // after the user's resume, try again.
  ErrorAction HandleError(OnError policy, IoOperation operation, const absl::Status& status);

 private:
  Job& job_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_JOB_CONTEXT_H_
