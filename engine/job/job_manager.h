// JobManager: all jobs of one engine: creating, addressing, asking, ending.
//
//   MILLRACE_ASSIGN_OR_RETURN(JobNumber job, manager.CoCreate({.id = "drive0"}, std::move(body)));
//   MILLRACE_RETURN_IF_ERROR(manager.CoStart(job));
//   ...
//   absl::Status pause = manager.Pause("drive0");
//
// Verbs never suspend: they set what is wanted and return; the job acts on it in its own time, and
// events tell. Every refusal carries a Conflict. The states in which a verb is accepted are in
// job_tables.h; what is asked beyond that, and in which order, is said at each verb, because
// clients see it in the errors.
//
// Home thread only. The manager outlives its jobs: CoShutdown() before it is destroyed.
#ifndef MILLRACE_ENGINE_JOB_JOB_MANAGER_H_
#define MILLRACE_ENGINE_JOB_JOB_MANAGER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/job_body.h"
#include "millrace/engine/job/job_committer.h"
#include "millrace/engine/job/job_info.h"
#include "millrace/engine/job/job_results.h"
#include "millrace/engine/job/job_state.h"
#include "millrace/engine/observer.h"
#include "millrace/engine/scheduler/invariant_checker.h"
#include "millrace/engine/scheduler/scheduler.h"
#include "millrace/engine/sync/condition.h"

namespace millrace {

class Engine;
class Job;
class JobTransaction;

// Names a job: by id, or by number. Implicit, so that verbs take either.
class JobKey {
 public:
  JobKey(std::string_view id) : id_(id) {}       // NOLINT(google-explicit-constructor)
  JobKey(const std::string& id) : id_(id) {}     // NOLINT(google-explicit-constructor)
  JobKey(const char* id) : id_(id) {}            // NOLINT(google-explicit-constructor)
  JobKey(JobNumber number) : number_(number) {}  // NOLINT(google-explicit-constructor)

  bool is_number() const { return number_.value() != 0; }
  std::string_view id() const { return id_; }
  JobNumber number() const { return number_; }

 private:
  std::string_view id_;
  JobNumber number_;
};

struct JobSpec {
  // Required, unless internal. The caller supplies the default (QEMU: the device's name).
  std::optional<std::string> id{};
  // No id, no events, addressed by number only.
  bool is_internal = false;
  int64_t speed = 0;  // bytes a second; 0 is no limit
  bool finalizes_automatically = true;
  bool dismisses_automatically = true;
  // From NewTransaction(); null: the job has one of its own.
  std::shared_ptr<JobTransaction> transaction{};
};

class JobManager final : public InvariantChecker {
 public:
  // All three outlive the manager.
  JobManager(Scheduler& scheduler, EngineObserver& observer, JobCommitter& committer);
  JobManager(Engine& engine, JobCommitter& committer);
  // No job may be left (checked; the message names those that are).
  ~JobManager();
  JobManager(const JobManager&) = delete;
  JobManager& operator=(const JobManager&) = delete;

  // ---- Creating ---------------------------------------------------------------------------------
  // Whether a job could be created under this id now: kInternalJobId, kMalformedJobId,
  // kDuplicateJobId, kMissingJobId, in this order.
  absl::Status CheckNewId(const std::optional<std::string>& id, bool is_internal) const;
  // What CoCreate() would refuse the job for now when its body has set itself up: kShuttingDown,
  // its id (as above), a closed transaction. The speed comes after that (CheckSpeed).
  absl::Status CheckNewJob(const JobSpec& spec) const;

  // Jobs that end together: all members finish or none does. Add members by JobSpec::transaction,
  // before the first of them is done.
  std::shared_ptr<JobTransaction> NewTransaction();

  // Creates a job, not started. Refused without a trace if JobBody::CoSetUp() fails, then for what
  // CheckNewJob() tells. If JobBody::OnCreated() fails or the speed
  // is negative, the job has existed: the observer sees created, null. On every error the body has
  // been aborted, cleaned and destroyed.
  absl::StatusOr<JobNumber> CoCreate(JobSpec spec, std::unique_ptr<JobBody> body)
      MILLRACE_MAY_SUSPEND;

  // Starts a created job: its coroutine runs from the run queue. FailedPrecondition if it was
  // started or cancelled before. ResourceExhausted if no coroutine could be had; the job is then
  // undone as if its creation had failed; only that may suspend.
  absl::Status CoStart(JobKey key) MILLRACE_MAY_SUSPEND;

  // ---- Verbs ------------------------------------------------------------------------------------
  // NotFound (kUnknownJob) if there is no such job; FailedPrecondition otherwise.

  // Verb, kAlreadyPaused. The job parks at its next pause point; it is woken from a sleep for that.
  absl::Status Pause(JobKey key);
  // kNotPaused, verb. Drains that hold the job still do. Clears the I/O status.
  absl::Status Resume(JobKey key);
  // Verb, kNegativeSpeed (InvalidArgument). Takes effect at once, also for a piece being waited
  // for.
  absl::Status SetSpeed(JobKey key, int64_t bytes_per_second);
  // Verb, kCannotComplete, JobBody::CheckComplete(). For jobs in state ready.
  absl::Status Complete(JobKey key);
  // kPausedNeedsForce (not force, and paused by the user), verb. What soft means is the body's
  // choice (JobBody::OnCancel). Undoes the user's pause. In a transaction that is not finalizing
  // yet, all members are cancelled; a job that is finalizing finishes if it can. ResourceExhausted
  // if a job that was never started finds no coroutine to clean it up; try again.
  absl::Status Cancel(JobKey key, bool force);
  // Verb; also refused once finalizing. Finalizes all members of the job's transaction.
  absl::Status Finalize(JobKey key);
  // Verb. The job is gone when it returns, and lets go of what it kept until now: of a block job's
  // nodes those that only it held are being closed then (Graph::NodesBeingClosed()). Not with a
  // view open.
  absl::Status Dismiss(JobKey key);
  // Verb, JobBody::CheckChange().
  absl::Status Change(JobKey key, const JobChange& change);

  // What the verb would be refused for now; OK if it would be accepted. Changes nothing; the verbs
  // ask the same. `force` is for kCancel. Not asked: what depends on the verb's argument
  // (CheckSpeed, CheckChange).
  absl::Status CheckVerb(JobKey key, JobVerb verb, bool force = false) const;
  // The same of a change, its job's opinion included.
  absl::Status CheckChange(JobKey key, const JobChange& change) const;
  // The same of a speed: kNegativeSpeed. `id` is the job's, which need not be there yet.
  static absl::Status CheckSpeed(std::string_view id, int64_t bytes_per_second);

  // ---- Asking -----------------------------------------------------------------------------------
  absl::StatusOr<JobInfo> Query(JobKey key) const;
  // Newest first; internal jobs included.
  std::vector<JobInfo> QueryAll() const;
  size_t live_jobs() const { return jobs_.size(); }

  // The job's body, for who plans its end and knows what it is. Until the job is null; not to be
  // told anything. NotFound as above.
  absl::StatusOr<JobBody*> FindBody(JobKey key) const;

  // Waits until the job is concluded (or gone) and returns how it ended. It need not be there any
  // more: the results of the last JobResults::kKept (256) jobs that ended and were dismissed are
  // kept. An id means the job that has it now, else the last one that had it. NotFound
  // (kUnknownJob) if there has been no such job, or it ended too long ago, which the text tells
  // apart for a number. A creation that was refused leaves no result behind. Not cancellable.
  absl::Status CoWaitUntilOver(JobKey key) MILLRACE_MAY_SUSPEND;

  // ---- Ending -----------------------------------------------------------------------------------
  // Cancels all jobs by force, waits until each is over, and dismisses it. Jobs that are finalizing
  // finish. Creating is refused from here on (kShuttingDown); creations under way are waited for.
  // Call it from a coroutine that is no job's, and hold no drained section: a drained job ends when
  // the drain has.
  void CoShutdown() MILLRACE_MAY_SUSPEND;

  // J2 and J4 over all jobs; see InvariantChecker.
  absl::Status CheckInvariants() override;

 private:
  friend class Job;
  friend class JobTransaction;

  absl::StatusOr<Job*> Find(JobKey key) const;
  // Find, then the verb table.
  absl::StatusOr<Job*> FindForVerb(JobKey key, JobVerb verb) const;
  void Emit(const JobEvent& event);
  // A job reached null: takes it out of sight; freed once its coroutine has ended.
  void Retire(Job& job);
  void FreeRetired();
  std::unique_ptr<Job> TakeOut(Job& job);
  // A job that could not be started goes from created to null; its body is aborted and cleaned.
  void CoUndoCreation(Job& job, absl::Status reason) MILLRACE_MAY_SUSPEND;
  // One step of CoShutdown() for one job.
  void CoShutDown(Job& job) MILLRACE_MAY_SUSPEND;
  bool has_concluded_job() const;
  std::string DescribeJobs() const;

  // Counts a CoCreate() or CoStart() under way, so that CoShutdown() waits for what it undoes.
  class CreationScope {
   public:
    explicit CreationScope(JobManager& manager) : manager_(manager) { ++manager_.creations_; }
    ~CreationScope();
    CreationScope(const CreationScope&) = delete;
    CreationScope& operator=(const CreationScope&) = delete;

   private:
    JobManager& manager_;
  };

  Scheduler& scheduler_;
  EngineObserver& observer_;
  JobCommitter& committer_;
  absl::btree_map<JobNumber, std::unique_ptr<Job>> jobs_;  // in order of creation
  absl::btree_map<std::string, Job*, std::less<>> by_id_;
  std::vector<std::unique_ptr<Job>> retired_;
  JobResults results_;
  Condition something_ended_;
  uint64_t next_number_ = 1;
  int creations_ = 0;
  bool is_shutting_down_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_JOB_MANAGER_H_
