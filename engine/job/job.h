// Job: one job's state, pause counts and waits; what JobContext, JobManager and JobTransaction work
// on. Authors of jobs see JobContext, clients see JobManager. Internal; not installed.
//
// A job's code runs in steps. A step begins when nobody quiesces the job (or it owns a granted
// section) and ends at a pause point, at the end of CoRun(), or at the end of a completion hook.
// Between steps the job is quiet. Whoever runs a step of the job (its own coroutine, or that of the
// member that coordinates its transaction) brackets it with CoBeginSteps() and EndStep().
#ifndef MILLRACE_ENGINE_JOB_JOB_H_
#define MILLRACE_ENGINE_JOB_JOB_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/base/quiescable.h"
#include "millrace/engine/job/job_body.h"
#include "millrace/engine/job/job_context.h"
#include "millrace/engine/job/job_event.h"
#include "millrace/engine/job/job_info.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/engine/job/job_progress.h"
#include "millrace/engine/scheduler/scheduler.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/rate_limiter.h"
#include "millrace/engine/sync/wait_queue.h"

namespace millrace {

class Job final : public Quiescable {
 public:
  Job(JobManager& manager, JobNumber number, const JobSpec& spec, std::unique_ptr<JobBody> body);
  ~Job();

  const std::string& id() const { return id_; }
  JobNumber number() const { return number_; }
  const std::string& type() const { return type_; }
  JobState state() const { return state_; }
  JobBody& body() { return *body_; }
  JobContext& context() { return context_; }
  const std::shared_ptr<JobTransaction>& transaction() const { return transaction_; }
  JobInfo Describe() const;
  ConflictHolder holder() const;

  // ---- Quiescable -------------------------------------------------------------------------------
  void BeginQuiesce() override;
  void EndQuiesce() override;
  bool is_quiet() const override;
  std::string DescribeQuiescable() const override;
  void EnterQuietWait() override;
  void CoLeaveQuietWait() MILLRACE_MAY_SUSPEND override;
  void OnSectionGranted() override;
  void OnSectionEnded() override;

  // ---- Steps ------------------------------------------------------------------------------------
  // Waits until none of `jobs` is held by a drain, then begins a step of each, in one go.
  static void CoBeginSteps(absl::Span<Job* const> jobs) MILLRACE_MAY_SUSPEND;
  static void CoWaitWhileHeld(absl::Span<Job* const> jobs) MILLRACE_MAY_SUSPEND;
  void EndStep();
  // A drain wants it at rest, and it owns no section that exempts it.
  bool is_held_by_drain() const { return quiesce_count_ > 0 && granted_sections_ == 0; }

  // ---- In CoRun() -------------------------------------------------------------------------------
  void CoPausePoint() MILLRACE_MAY_SUSPEND;
  // kNever: until kicked.
  void CoSleepUntil(Nanoseconds deadline) MILLRACE_MAY_SUSPEND;
  void CoBeforePiece() MILLRACE_MAY_SUSPEND;
  void Kick();
  void BecomeReady();
  ErrorAction HandleError(OnError policy, IoOperation operation, const absl::Status& status);

  // ---- Verbs (JobManager::CheckVerb has been asked) ---------------------------------------------
  absl::Status Pause();
  absl::Status Resume();
  absl::Status SetSpeed(int64_t bytes_per_second);
  bool can_complete() const;
  void Complete();
  // Sets what a cancel sets and undoes the user's pause; whoever calls it decides what to wake.
  void MarkCancelled(bool force);
  // A cancel of a job that is finalizing: counts only if that fails.
  void RecordCancel() { is_cancel_recorded_ = true; }
  // Ends a sleep and a user's pause, so that the body sees what was asked of it.
  void WakeForVerb();

  // ---- Life -------------------------------------------------------------------------------------
  absl::Status CoSetUp() MILLRACE_MAY_SUSPEND;
  // False if no coroutine could be had; then nothing has changed.
  bool Start();
  // For a job that is cancelled before it was started: the same, without CoRun().
  bool StartCompletion();
  // Ends a body that nothing became of, at once: CoAbort(), CoClean(), and it is gone.
  void CoDiscardBody() MILLRACE_MAY_SUSPEND;
  // J1; mixes the state into the trace and tells the observer.
  void Transition(JobState to);
  void Emit(JobEventKind kind);
  // J2 and J4, as they stand between two steps.
  absl::Status CheckInvariants() const;
  // Concluded, and null if nobody dismisses it by hand or it was never started. J5: nobody suspends
  // meanwhile.
  void Conclude();
  // To null: destroys the body and hands the job to the manager, which may free it at the next
  // opportunity; not to be touched afterwards, except by its own coroutine.
  void Vanish();
  // From created to null, without having begun to end. The body is left to CoDiscardBody().
  void VanishUnstarted(absl::Status reason);
  // Waits for Conclude() or VanishUnstarted() and returns the result.
  absl::Status CoWaitUntilOver() MILLRACE_MAY_SUSPEND;

  bool is_started() const { return is_started_; }
  bool is_cancelled() const { return is_force_cancelled_; }
  bool is_cancel_requested() const { return is_cancel_requested_; }
  bool is_paused_by_user() const { return is_paused_by_user_; }
  bool is_ready() const { return state_ == JobState::kReady || state_ == JobState::kStandby; }
  bool is_over() const { return state_ == JobState::kConcluded || state_ == JobState::kNull; }
  bool finalizes_automatically() const { return finalizes_automatically_; }
  // Whether it will stay when it is concluded: one that was never started goes by itself.
  bool is_kept_for_dismissal() const { return is_started_ && !dismisses_automatically_; }
  bool has_arrived() const { return has_arrived_; }
  const absl::Status& result() const { return result_; }

 private:
  friend class JobContext;
  friend class JobManager;
  friend class JobTransaction;

  // What the wait-for graph shows of a coroutine parked here.
  struct ParkedWait final : Waitable {
    explicit ParkedWait(const Job& parked) : job(parked) {}
    void DescribeWait(WaitDescription& description) const override;
    const Job& job;
  };
  struct SleepWait final : Waitable {
    explicit SleepWait(const Job& sleeping) : job(sleeping) {}
    void DescribeWait(WaitDescription& description) const override;
    const Job& job;
  };
  struct ResultWait final : Waitable {
    explicit ResultWait(const Job& awaited) : job(awaited) {}
    void DescribeWait(WaitDescription& description) const override;
    const Job& job;
  };
  struct ResultWaiter {
    absl::Status result;
    WaitQueue queue;
    ListLink link;
  };

  static void OnTimer(void* self);
  template <typename Main>
  bool Spawn(Main main);
  void CoMain() MILLRACE_MAY_SUSPEND;
  // Parks until nobody wants a pause, then begins a step. Says so by its state unless it is
  // cancelled, when it would only confuse.
  void CoPark() MILLRACE_MAY_SUSPEND;
  bool must_park() const {
    return is_held_by_drain() ||
           (granted_sections_ == 0 && is_paused_by_user_ && !is_force_cancelled_);
  }
  void TellResult();
  void PauseForUser();
  void UndoUserPause();
  JobEvent MakeEvent(JobEventKind kind) const;
  void CheckInRun() const;

  JobManager& manager_;
  Scheduler& scheduler_;
  const JobNumber number_;
  const std::string id_;
  const bool is_internal_;
  const bool finalizes_automatically_;
  const bool dismisses_automatically_;
  const Nanoseconds created_at_;
  JobContext context_;
  std::unique_ptr<JobBody> body_;  // until null
  const std::string type_;
  std::shared_ptr<JobTransaction> transaction_;

  JobState state_ = JobState::kUndefined;
  bool is_started_ = false;
  bool is_in_run_ = false;     // between its first step and the return of CoRun()
  bool has_returned_ = false;  // CoRun() has: a soft cancel comes too late
  bool has_arrived_ = false;   // at its transaction; result_ is set
  absl::Status result_;

  bool is_in_step_ = false;
  bool is_paused_by_user_ = false;
  int quiesce_count_ = 0;
  int quiet_waits_ = 0;
  int granted_sections_ = 0;

  bool is_cancel_requested_ = false;
  bool is_force_cancelled_ = false;
  bool is_cancel_recorded_ = false;

  JobProgress progress_;
  int64_t speed_ = 0;
  RateLimiter limiter_;
  JobIoStatus io_status_ = JobIoStatus::kOk;

  Timer timer_;
  WaitQueue sleeper_;
  WaitQueue parked_;
  IntrusiveList<ResultWaiter, &ResultWaiter::link> result_waiters_;
  int pins_ = 0;                    // coroutines other than its own that look at it after null
  std::optional<TaskScope> scope_;  // of its coroutine; its own, so that no other job's fails it
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_JOB_H_
