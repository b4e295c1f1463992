#include "millrace/engine/job/job_manager.h"

#include <algorithm>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/job/job.h"
#include "millrace/engine/job/job_refusal.h"
#include "millrace/engine/job/job_tables.h"
#include "millrace/engine/job/job_transaction.h"

namespace millrace {
namespace {

constexpr bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool IsWellFormedId(std::string_view id) {
  if (id.empty() || !IsLetter(id.front())) return false;
  return std::all_of(id.begin(), id.end(), [](char c) {
    return IsLetter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
}

}  // namespace

JobManager::JobManager(Scheduler& scheduler, EngineObserver& observer, JobCommitter& committer)
    : scheduler_(scheduler),
      observer_(observer),
      committer_(committer),
      something_ended_("a job's end") {
  scheduler_.AddInvariantChecker(this);
}

JobManager::JobManager(Engine& engine, JobCommitter& committer)
    : JobManager(engine.scheduler(), engine.observer(), committer) {}

JobManager::~JobManager() {
  scheduler_.RemoveInvariantChecker(this);
  FreeRetired();
  MILLRACE_CHECK(jobs_.empty() && retired_.empty(),
                 StrCat("job manager destroyed with jobs: ", DescribeJobs(),
                        "; CoShutdown() it first, on every path"));
}

std::string JobManager::DescribeJobs() const {
  std::string text;
  const auto add = [&text](const Job& job, std::string_view state) {
    StrAppend(&text, text.empty() ? "" : ", ", job.DescribeQuiescable(), " (", state, ")");
  };
  for (const auto& entry : jobs_) add(*entry.second, JobStateName(entry.second->state()));
  for (const std::unique_ptr<Job>& job : retired_) add(*job, "its coroutine has yet to end");
  return text;
}

absl::Status JobManager::CheckInvariants() {
  for (const auto& entry : jobs_) MILLRACE_RETURN_IF_ERROR(entry.second->CheckInvariants());
  return absl::OkStatus();
}

// ---- Creating -----------------------------------------------------------------------------------

absl::Status JobManager::CheckNewId(const std::optional<std::string>& id, bool is_internal) const {
  if (!id) return is_internal ? absl::OkStatus() : MissingJobId();
  if (is_internal) return InternalJobId(*id);
  if (!IsWellFormedId(*id)) return MalformedJobId(*id);
  if (auto found = by_id_.find(*id); found != by_id_.end()) return DuplicateJobId(*found->second);
  return absl::OkStatus();
}

absl::Status JobManager::CheckNewJob(const JobSpec& spec) const {
  const std::string_view id = spec.id ? std::string_view(*spec.id) : std::string_view();
  if (is_shutting_down_) return ShuttingDown(id);
  MILLRACE_RETURN_IF_ERROR(CheckNewId(spec.id, spec.is_internal));
  if (spec.transaction && !spec.transaction->is_open()) return TransactionClosed(id);
  return absl::OkStatus();
}

std::shared_ptr<JobTransaction> JobManager::NewTransaction() {
  return std::make_shared<JobTransaction>(committer_);
}

absl::StatusOr<JobNumber> JobManager::CoCreate(JobSpec spec, std::unique_ptr<JobBody> body) {
  const CreationScope creating(*this);
  FreeRetired();
  if (!spec.transaction) spec.transaction = NewTransaction();
  JobNumber number(next_number_++);
  MILLRACE_MUTANT(kR67) {  // as a pointer is used again
    number = JobNumber(1);
    while (jobs_.contains(number)) number = JobNumber(number.value() + 1);
  }
  auto created = std::make_unique<Job>(*this, number, spec, std::move(body));
  Job& job = *created;
  absl::Status status = job.CoSetUp();
  // Only now: it may have suspended, and what it refuses comes first.
  if (status.ok()) status = CheckNewJob(spec);
  if (!status.ok()) {
    job.CoDiscardBody();
    return status;
  }
  jobs_.emplace(number, std::move(created));
  if (!job.id().empty()) by_id_.emplace(job.id(), &job);
  job.Transition(JobState::kCreated);
  status = job.body().OnCreated();
  if (status.ok() && spec.speed != 0) status = job.SetSpeed(spec.speed);
  if (!status.ok()) {
    CoUndoCreation(job, status);
    return status;
  }
  spec.transaction->Add(job);
  return number;
}

absl::Status JobManager::CoStart(JobKey key) {
  MILLRACE_ASSIGN_OR_RETURN(Job * job, Find(key));
  if (job->state() != JobState::kCreated) return VerbNotAccepted(*job, "start");
  if (job->is_cancelled()) return CancelledBeforeStart(*job);
  if (job->Start()) return absl::OkStatus();
  const CreationScope undoing(*this);
  const absl::Status status = NoCoroutine(*job, "start");
  job->transaction()->Remove(*job);
  results_.Remember(job->number(), job->id(), status);
  CoUndoCreation(*job, status);
  return status;
}

void JobManager::CoUndoCreation(Job& job, absl::Status reason) {
  // Gone for clients first, then cleaned up, so that no verb meets a half-dead job.
  std::unique_ptr<Job> undone = TakeOut(job);
  undone->VanishUnstarted(std::move(reason));
  undone->CoDiscardBody();
}

// ---- Verbs --------------------------------------------------------------------------------------

absl::StatusOr<Job*> JobManager::Find(JobKey key) const {
  if (key.is_number()) {
    if (auto found = jobs_.find(key.number()); found != jobs_.end()) return found->second.get();
  } else if (auto found = by_id_.find(key.id()); found != by_id_.end()) {
    return found->second;
  }
  return UnknownJob(key);
}

absl::StatusOr<Job*> JobManager::FindForVerb(JobKey key, JobVerb verb) const {
  MILLRACE_ASSIGN_OR_RETURN(Job * job, Find(key));
  if (!IsJobVerbAccepted(verb, job->state())) return VerbNotAccepted(*job, JobVerbName(verb));
  return job;
}

absl::Status JobManager::CheckVerb(JobKey key, JobVerb verb, bool force) const {
  MILLRACE_ASSIGN_OR_RETURN(Job * job, Find(key));
  // Clients see the order of these in the errors; it is QEMU's.
  if (verb == JobVerb::kResume && !job->is_paused_by_user()) return NotPaused(*job);
  if (verb == JobVerb::kCancel && !force && job->is_paused_by_user()) {
    return PausedNeedsForce(*job);
  }
  MILLRACE_RETURN_IF_ERROR(FindForVerb(key, verb).status());
  if (verb == JobVerb::kPause && job->is_paused_by_user()) return AlreadyPaused(*job);
  if (verb == JobVerb::kComplete) {
    return job->can_complete() ? job->body().CheckComplete() : CannotComplete(*job);
  }
  if (verb == JobVerb::kFinalize && !job->transaction()->can_finalize()) {
    return VerbNotAccepted(*job, JobVerbName(verb));
  }
  return absl::OkStatus();
}

absl::Status JobManager::CheckSpeed(std::string_view id, int64_t bytes_per_second) {
  return bytes_per_second < 0 ? NegativeSpeed(id, bytes_per_second) : absl::OkStatus();
}

absl::Status JobManager::Pause(JobKey key) {
  MILLRACE_RETURN_IF_ERROR(CheckVerb(key, JobVerb::kPause));
  MILLRACE_ASSIGN_OR_RETURN(Job * job, Find(key));
  return job->Pause();
}

absl::Status JobManager::Resume(JobKey key) {
  MILLRACE_RETURN_IF_ERROR(CheckVerb(key, JobVerb::kResume));
  MILLRACE_ASSIGN_OR_RETURN(Job * job, Find(key));
  return job->Resume();
}

absl::Status JobManager::SetSpeed(JobKey key, int64_t bytes_per_second) {
  MILLRACE_ASSIGN_OR_RETURN(Job * job, FindForVerb(key, JobVerb::kSetSpeed));
  return job->SetSpeed(bytes_per_second);
}

absl::Status JobManager::Complete(JobKey key) {
  MILLRACE_RETURN_IF_ERROR(CheckVerb(key, JobVerb::kComplete));
  MILLRACE_ASSIGN_OR_RETURN(Job * job, Find(key));
  job->Complete();
  return absl::OkStatus();
}

absl::Status JobManager::Cancel(JobKey key, bool force) {
  MILLRACE_RETURN_IF_ERROR(CheckVerb(key, JobVerb::kCancel, force));
  MILLRACE_ASSIGN_OR_RETURN(Job * job, Find(key));
  MILLRACE_MUTANT(kR26b) {  // a cancel is a cancel
    job->transaction()->Cancel(*job, force);
    return absl::OkStatus();
  }
  if (job->transaction()->is_past_return()) {
    job->RecordCancel();
    return absl::OkStatus();
  }
  return job->transaction()->Cancel(*job, force) ? absl::OkStatus() : NoCoroutine(*job, "cancel");
}

absl::Status JobManager::Finalize(JobKey key) {
  MILLRACE_RETURN_IF_ERROR(CheckVerb(key, JobVerb::kFinalize));
  MILLRACE_ASSIGN_OR_RETURN(Job * job, Find(key));
  job->transaction()->RequestFinalize(*job);
  return absl::OkStatus();
}

absl::Status JobManager::Dismiss(JobKey key) {
  MILLRACE_ASSIGN_OR_RETURN(Job * job, FindForVerb(key, JobVerb::kDismiss));
  job->Vanish();
  return absl::OkStatus();
}

absl::Status JobManager::Change(JobKey key, const JobChange& change) {
  MILLRACE_RETURN_IF_ERROR(CheckChange(key, change));
  MILLRACE_ASSIGN_OR_RETURN(Job * job, Find(key));
  job->body().OnChange(change);
  return absl::OkStatus();
}

absl::Status JobManager::CheckChange(JobKey key, const JobChange& change) const {
  MILLRACE_ASSIGN_OR_RETURN(Job * job, FindForVerb(key, JobVerb::kChange));
  return job->body().CheckChange(change);
}

// ---- Asking -------------------------------------------------------------------------------------

absl::StatusOr<JobInfo> JobManager::Query(JobKey key) const {
  MILLRACE_ASSIGN_OR_RETURN(Job * job, Find(key));
  return job->Describe();
}

absl::StatusOr<JobBody*> JobManager::FindBody(JobKey key) const {
  MILLRACE_ASSIGN_OR_RETURN(Job * job, Find(key));
  return &job->body();
}

std::vector<JobInfo> JobManager::QueryAll() const {
  std::vector<JobInfo> infos;
  infos.reserve(jobs_.size());
  for (auto each = jobs_.rbegin(); each != jobs_.rend(); ++each) {
    infos.push_back(each->second->Describe());
  }
  return infos;
}

absl::Status JobManager::CoWaitUntilOver(JobKey key) {
  absl::StatusOr<Job*> job = Find(key);
  if (job.ok()) return (*job)->CoWaitUntilOver();
  const absl::Status* result =
      key.is_number() ? results_.Find(key.number()) : results_.Find(key.id());
  if (result != nullptr) return *result;
  const bool has_existed = key.is_number() && key.number().value() < next_number_;
  return UnknownEndedJob(key, has_existed);
}

// ---- Ending -------------------------------------------------------------------------------------

JobManager::CreationScope::~CreationScope() {
  if (--manager_.creations_ == 0) manager_.something_ended_.Notify();
}

void JobManager::Emit(const JobEvent& event) { observer_.OnJobEvent(event); }

std::unique_ptr<Job> JobManager::TakeOut(Job& job) {
  by_id_.erase(job.id());
  auto found = jobs_.find(job.number());
  std::unique_ptr<Job> taken = std::move(found->second);
  jobs_.erase(found);
  return taken;
}

void JobManager::Retire(Job& job) {
  FreeRetired();
  results_.Remember(job.number(), job.id(), job.result());
  retired_.push_back(TakeOut(job));
  something_ended_.Notify();
}

void JobManager::FreeRetired() {
  std::erase_if(retired_, [](const std::unique_ptr<Job>& job) {
    return job->pins_ == 0 && (!job->scope_ || job->scope_->live() == 0);
  });
}

bool JobManager::has_concluded_job() const {
  return std::any_of(jobs_.begin(), jobs_.end(), [](const auto& entry) {
    return entry.second->state() == JobState::kConcluded;
  });
}

void JobManager::CoShutdown() {
  is_shutting_down_ = true;
  MILLRACE_MUTANT(kR40) {  // one walk along the list, from which jobs go meanwhile
    for (size_t i = 0; i < jobs_.size(); ++i) {
      CoShutDown(*std::next(jobs_.begin(), static_cast<std::ptrdiff_t>(i))->second);
    }
    something_ended_.CoWaitUntil([&] { return jobs_.empty(); });
  }
  while (!jobs_.empty()) {
    std::vector<JobNumber> numbers;  // newest first
    for (auto each = jobs_.rbegin(); each != jobs_.rend(); ++each) numbers.push_back(each->first);
    for (JobNumber number : numbers) {
      if (auto found = jobs_.find(number); found != jobs_.end()) CoShutDown(*found->second);
    }
    something_ended_.CoWaitUntil([&] { return jobs_.empty() || has_concluded_job(); });
  }
  something_ended_.CoWaitUntil([&] { return creations_ == 0; });
  MILLRACE_MUTANT(kR41) return;
  // What is left are coroutines of ended jobs, on their last steps.
  for (FreeRetired(); !retired_.empty(); FreeRetired()) {
    Job& job = *retired_.front();
    ++job.pins_;
    job.scope_->CoJoin().IgnoreError();
    --job.pins_;
  }
  // The guests may still be there, and what the jobs have made of the graph: a good moment to look
  // at all of it.
  if (scheduler_.checks_edits()) {
    const absl::Status status = scheduler_.CheckInvariants();
    MILLRACE_CHECK(status.ok(), StrCat("when the jobs are over: ", status.ToString()));
  }
}

void JobManager::CoShutDown(Job& job) {
  if (job.state() == JobState::kConcluded) {
    job.Vanish();
  } else if (!job.is_cancelled() && IsJobVerbAccepted(JobVerb::kCancel, job.state()) &&
             !Cancel(job.number(), true).ok()) {
    // Never started, and no coroutine can be had for its end: use this one.
    const absl::Status status = JobCancelled(job);
    job.transaction()->Remove(job);
    results_.Remember(job.number(), job.id(), status);
    CoUndoCreation(job, status);
  }
}

}  // namespace millrace
