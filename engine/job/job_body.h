// JobBody: what the author of a job writes. The job core runs it.
//
// The rule of the engine shapes it: gather proofs (may suspend), edit (cannot suspend), follow up
// (may suspend, derives again). What a job will edit at its end it leases and claims in CoSetUp();
// so its completion is never refused by another job.
//
//   -            CoSetUp()        takes leases, claims and attachments, inserts its filter;
//                                 a refusal leaves no trace
//   created      OnCreated()      the last checks; a refusal is seen as created, null
//   running      CoRun()          the work
//   waiting      -                until all members of its transaction are done
//   pending      CoPrepare()      each member, newest first; any may still fail
//                StageEdit()      all members' edits in one graph transaction: all or none
//                CoFollowUp()     headers, closing; a failure is this job's error, no rollback
//   or aborting  CoAbort()        instead of the two above; exactly one of the two happens (J3)
//                CoClean()        always, last; from here to `null` nothing suspends (J5)
//   null         ~JobBody()       edges and claims end here; leases must have ended in CoClean (J4)
//
// The Co hooks run one after another, never two at a time, as steps of the job: a drained section
// of somebody else's that covers the job holds the next hook back. CoSetUp() runs in the creator's
// coroutine, CoRun() in the job's own; a member of a larger transaction may have the hooks after it
// called from another member's.
//
// The On hooks are called by verbs, at any time between OnCreated() and StageEdit() or CoAbort(),
// while another hook is suspended somewhere, or none is: set a flag, kick, cancel a scope.
// OnCancel() is called when another member fails, too. They cannot suspend. Home thread only.
#ifndef MILLRACE_ENGINE_JOB_JOB_BODY_H_
#define MILLRACE_ENGINE_JOB_JOB_BODY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/job/job_context.h"
#include "millrace/engine/job/job_info.h"

namespace millrace {

// What StageEdit() adds its edits to. The engine knows no graph: the jobs layer wraps its
// GraphTransaction in one of these.
class JobEdit {
 public:
  virtual ~JobEdit() = default;
};

// Options of the `change` verb; each job type that supports it derives its own.
class JobChange {
 public:
  virtual ~JobChange() = default;
};

class JobBody {
 public:
  JobBody() = default;
  virtual ~JobBody() = default;
  JobBody(const JobBody&) = delete;
  JobBody& operator=(const JobBody&) = delete;

  // "stream". Constant for the body's life.
  virtual std::string_view type() const = 0;

  // Nobody can see the job yet, but context() is valid: its quiescable() is what attachments and
  // sections of this job name. To refuse a bad id before anything is done to the graph, ask
  // JobManager::CheckNewId() here. Followed by CoAbort() and CoClean() if it fails, or if the job
  // is refused for another reason.
  virtual absl::Status CoSetUp() MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  // The job is visible, not started. A failure ends it at once (created, null), then CoAbort() and
  // CoClean().
  virtual absl::Status OnCreated() { return absl::OkStatus(); }

  // The work: a loop of pieces with context.CoBeforePiece() before each. Returns when done, on an
  // error it does not survive, or soon after context.is_cancelled() (then any status will do). Must
  // have nothing in flight when it returns. Not called if the job is cancelled before its start.
  virtual absl::Status CoRun(JobContext& context) MILLRACE_MAY_SUSPEND = 0;

  // Last things that may fail before the edit. From the first member's CoPrepare() on, a cancel is
  // recorded but does not stop the transaction. Called again, after all other members' ones, if the
  // committer puts the edit off.
  virtual absl::Status CoPrepare() MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  // Adds this job's edits. Derive what to edit here, from the graph as it is now. May be called
  // again if the edit must be tried anew; nothing happens until all members' edits are applied.
  virtual void StageEdit(JobEdit& /*edit*/) {}
  // The edits are applied.
  virtual absl::Status CoFollowUp() MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  // Nothing was edited: undo what was set up. Comes after whichever hook was the last, of this job
  // or of another member, so what there is to undo may be incomplete.
  virtual void CoAbort() MILLRACE_MAY_SUSPEND {}
  virtual void CoClean() MILLRACE_MAY_SUSPEND {}

  // ---- Pausing ----------------------------------------------------------------------------------
  // At a pause point, before the job parks: wait until nothing of it is in flight. A body with one
  // piece at a time has nothing to do.
  virtual void CoStopIo() MILLRACE_MAY_SUSPEND {}
  // After it was let go again (or did not have to park after all).
  virtual void OnRestartIo() {}

  // ---- Invariants -------------------------------------------------------------------------------
  // Checked by the core, always when it matters and in simulations after every step.
  // J2: requests of it that are under way; none while it is paused.
  virtual size_t CountRequestsInFlight() { return 0; }
  // J4: what it still holds that must be gone by the end of CoClean() ("a lease on 'top'"); empty
  // if nothing.
  virtual std::string DescribeLeftovers() { return {}; }

  // ---- Queries ----------------------------------------------------------------------------------
  // Adds figures of its own to what the core says of the job.
  virtual void Describe(JobInfo& /*info*/) const {}

  // ---- Verbs ------------------------------------------------------------------------------------
  // Whether the user may end it by `complete` (mirror). Such a job calls context.BecomeReady().
  virtual bool can_complete() const { return false; }
  // What stands in the way of OnComplete() now, with a conflict. In state ready or standby, no
  // cancel requested.
  virtual absl::Status CheckComplete() const { return absl::OkStatus(); }
  // Ends it; only what CheckComplete() has let pass just now. The core kicks it afterwards.
  virtual void OnComplete() {}
  // A cancel was asked for. Returns whether the job must stop now (force) or may finish its own way
  // (soft): a mirror in state ready returns `force`; the rest of the world knows force only. With
  // force, end what would take long: cancel your TaskScopes. The core kicks the job afterwards.
  virtual bool OnCancel(bool /*force*/) { return true; }
  // The user resumed it, or a cancel undid the user's pause.
  virtual void OnUserResume() {}
  virtual void OnSetSpeed(int64_t /*bytes_per_second*/) {}
  // Whether OnChange() would do it: carries a conflict (kChangeUnsupported) if not; by default it
  // never would.
  virtual absl::Status CheckChange(const JobChange& change) const;
  // Does it; only what CheckChange() has let pass just now.
  virtual void OnChange(const JobChange& /*change*/) {}

 protected:
  // This job, from CoSetUp() until the body is destroyed.
  JobContext& context() const { return *context_; }

 private:
  friend class Job;
  JobContext* context_ = nullptr;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_JOB_BODY_H_
