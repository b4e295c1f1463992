#include "millrace/engine/job/job_transaction.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/job/job_refusal.h"
#include "millrace/engine/scheduler/exploration_site.h"

namespace millrace {
namespace {

void EndSteps(absl::Span<Job* const> jobs) {
  for (Job* job : jobs) job->EndStep();
}

}  // namespace

// ---- Members come and go ------------------------------------------------------------------------

void JobTransaction::Add(Job& job) {
  MILLRACE_ALWAYS(is_open(), "job: a transaction that ends takes no more members");
  members_.insert(members_.begin(), &job);
}

void JobTransaction::Remove(Job& job) {
  members_.erase(std::find(members_.begin(), members_.end(), &job));
  const Members others = members_;
  for (Job* other : others) Cancel(*other, true);
}

void JobTransaction::CoArrive(Job& job, absl::Status result) {
  if (job.is_held_by_drain()) {
    MILLRACE_SOMETIMES(true, "job: a completion is held up by somebody's drain");
    // Completing is a step like any other; its state stays what it was, and nobody is told.
    job.EndStep();
    Job* const self = &job;
    Job::CoBeginSteps({&self, 1});
  }
  Settle(job, std::move(result));
  job.EndStep();
  CoServe(job);
}

void JobTransaction::CoArriveUnstarted(Job& job) {
  Job* const self = &job;
  Job::CoWaitWhileHeld({&self, 1});
  // Unless another member's end has swept it away meanwhile.
  if (phase_ == Phase::kOpen) Settle(job, JobCancelled(job));
  CoServe(job);
}

void JobTransaction::Settle(Job& job, absl::Status result) {
  if (result.ok() && job.is_cancelled()) result = JobCancelled(job);
  job.result_ = std::move(result);
  job.has_arrived_ = true;
  is_closed_ = true;
  if (phase_ == Phase::kOpen) {
    if (!job.result_.ok()) {
      job.Transition(JobState::kAborting);
      BeginAbort(&job);
    } else {
      job.Transition(JobState::kWaiting);
      if (all_have_arrived()) Appoint(job);
    }
  }
  changed_.WakeAll();
}

bool JobTransaction::Cancel(Job& job, bool force) {
  if (!job.is_started()) {
    if (job.is_cancelled()) return true;
    if (!job.StartCompletion()) return false;
    job.MarkCancelled(true);
    return true;
  }
  job.MarkCancelled(force);
  if (!job.has_arrived()) {
    job.WakeForVerb();
  } else if (job.is_cancelled() && (phase_ == Phase::kOpen || phase_ == Phase::kPending)) {
    MILLRACE_SOMETIMES(true, "job: cancelled after its work was done");
    BeginAbort(&job);
  }
  return true;
}

void JobTransaction::RequestFinalize(Job& job) {
  is_finalize_requested_ = true;
  Appoint(job);
}

bool JobTransaction::all_have_arrived() const {
  return std::all_of(members_.begin(), members_.end(),
                     [](const Job* job) { return job->has_arrived(); });
}

// ---- Coordinating -------------------------------------------------------------------------------

void JobTransaction::Appoint(Job& job) {
  coordinator_ = &job;
  changed_.WakeAll();
}

void JobTransaction::CoServe(Job& job) {
  for (;;) {
    if (coordinator_ == &job) {
      CoCoordinate();
    } else if (job.is_over()) {
      return;
    } else {
      changed_.CoWait("job.transaction", this);
    }
  }
}

void JobTransaction::CoCoordinate() {
  if (phase_ == Phase::kOpen) CoMakePending();
  if (phase_ == Phase::kPending) {
    if (!is_finalize_requested_) {
      coordinator_ = nullptr;  // whoever is finalized or cancelled takes over
      return;
    }
    CoFinalize();
  }
  if (phase_ == Phase::kCommitted || phase_ == Phase::kAborting) CoFinishAll();
}

void JobTransaction::CoMakePending() {
  Job::CoBeginSteps(members_);
  if (phase_ == Phase::kOpen) {  // a member may have been cancelled while a drain held another
    phase_ = Phase::kPending;
    is_finalize_requested_ = true;
    for (Job* job : members_) {
      job->Transition(JobState::kPending);
      if (job->finalizes_automatically()) continue;
      job->Emit(JobEventKind::kPending);
      is_finalize_requested_ = false;
    }
  }
  EndSteps(members_);
}

void JobTransaction::CoFinalize() {
  for (;;) {
    if (!CoPrepareAll()) return;
    const absl::StatusOr<CommitOutcome> outcome = CoCommitAll();
    if (!outcome.ok()) {
      // One change for all members: its failure is the failure of each.
      for (Job* job : members_) job->result_ = outcome.status();
      BeginAbort(nullptr);
      return;
    }
    if (*outcome == CommitOutcome::kPutOff) continue;
    phase_ = Phase::kCommitted;
    return;
  }
}

bool JobTransaction::CoPrepareAll() {
  for (Job* job : members_) {
    Job::CoBeginSteps({&job, 1});
    if (phase_ == Phase::kAborting) {  // cancelled while a drain held the first one
      job->EndStep();
      return false;
    }
    phase_ = Phase::kFinalizing;
    absl::Status status = job->body().CoPrepare();
    if (!status.ok()) {
      job->result_ = std::move(status);
      job->Transition(JobState::kAborting);
      BeginAbort(job);
    }
    job->EndStep();
    if (phase_ == Phase::kAborting) return false;
  }
  return true;
}

absl::StatusOr<CommitOutcome> JobTransaction::CoCommitAll() {
  absl::InlinedVector<JobBody*, 1> bodies;
  for (Job* job : members_) bodies.push_back(&job->body());
  Job::CoBeginSteps(members_);
  const absl::StatusOr<CommitOutcome> outcome = committer_.CoCommit(bodies);
  EndSteps(members_);
  return outcome;
}

void JobTransaction::BeginAbort(Job* trigger) {
  phase_ = Phase::kAborting;
  is_closed_ = true;
  for (Job* job : members_) {
    // What was recorded while it could not stop counts now that it does.
    if (job->is_cancel_recorded_) job->is_force_cancelled_ = true;
    if (trigger == nullptr || job == trigger) continue;
    job->MarkCancelled(true);
    if (job->is_started()) job->WakeForVerb();
  }
  if (coordinator_ == nullptr) Appoint(*trigger);
}

void JobTransaction::CoFinishAll() {
  while (!members_.empty()) {
    Job& job = *members_.front();
    while (job.is_started() && !job.has_arrived()) {
      MILLRACE_MUTANT(kM19) break;  // it has been told to stop
      MILLRACE_MUTANT(kR48) {       // where the coordinator's own news come in
        coordinator_->parked_.CoWait("job.transaction", this);
        continue;
      }
      changed_.CoWait("job.transaction", this);
    }
    CoFinish(job);
    changed_.WakeAll();
  }
  phase_ = Phase::kOver;
  coordinator_ = nullptr;
  changed_.WakeAll();
}

void JobTransaction::CoFinish(Job& job) {
  Job* const self = &job;
  Job::CoBeginSteps({&self, 1});
  // J3: one of the two, and no other code calls either for a job that has begun to end.
  MILLRACE_ALWAYS(phase_ == Phase::kCommitted || phase_ == Phase::kAborting,
                  "J3: a job that finishes is committed or aborted");
  if (phase_ == Phase::kCommitted) {
    if (absl::Status status = job.body().CoFollowUp(); !status.ok()) {
      job.result_ = std::move(status);
      job.Transition(JobState::kAborting);
    }
  } else {
    bool keeps_result = !job.result_.ok();
    MILLRACE_MUTANT(kR57) keeps_result = true;  // its own work had been done
    if (!keeps_result) job.result_ = JobCancelled(job);
    job.Transition(JobState::kAborting);
    job.body().CoAbort();
  }
  job.EndStep();
  Job::CoBeginSteps({&self, 1});
  job.body().CoClean();
  // J5: nothing suspends from here on.
  members_.erase(members_.begin());
  job.EndStep();
  job.Conclude();
}

void JobTransaction::DescribeWait(WaitDescription& description) const {
  description.object = phase_ == Phase::kPending ? "finalize" : "the other jobs of a transaction";
  for (const Job* job : members_) {
    if (!job->has_arrived()) description.holders.push_back(job->DescribeQuiescable());
  }
  // What holds it up is another member's wait, or the user.
  description.idle = true;
}

}  // namespace millrace
