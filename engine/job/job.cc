#include "millrace/engine/job/job.h"

#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/engine/job/job_refusal.h"
#include "millrace/engine/job/job_tables.h"
#include "millrace/engine/job/job_transaction.h"
#include "millrace/engine/scheduler/exploration_site.h"

namespace millrace {

Job::Job(JobManager& manager, JobNumber number, const JobSpec& spec, std::unique_ptr<JobBody> body)
    : manager_(manager),
      scheduler_(manager.scheduler_),
      number_(number),
      id_(spec.id.value_or("")),
      is_internal_(spec.is_internal),
      finalizes_automatically_(spec.finalizes_automatically),
      dismisses_automatically_(spec.dismisses_automatically),
      created_at_(scheduler_.Now()),
      context_(*this),
      body_(std::move(body)),
      type_(body_->type()),
      transaction_(spec.transaction),
      timer_("job.sleep", &OnTimer, this) {
  body_->context_ = &context_;
}

Job::~Job() = default;

// ---- Life ---------------------------------------------------------------------------------------

template <typename Main>
bool Job::Spawn(Main main) {
  scope_.emplace(scheduler_, "job");
  if (scope_->Spawn(id_.empty() ? type_ : id_, std::move(main))) return true;
  scope_.reset();
  return false;
}

bool Job::Start() {
  if (!Spawn([this]() MILLRACE_MAY_SUSPEND { CoMain(); })) return false;
  is_started_ = true;
  scheduler_.Count(Counter::kJobsStarted);
  Transition(JobState::kRunning);
  return true;
}

bool Job::StartCompletion() {
  return Spawn([this]() MILLRACE_MAY_SUSPEND {
    const std::shared_ptr<JobTransaction> transaction = transaction_;
    transaction->CoArriveUnstarted(*this);
  });
}

void Job::CoMain() {
  // A job that a drain or the user holds already parks before its first step.
  if (must_park()) {
    CoPark();
  } else {
    is_in_step_ = true;
  }
  is_in_run_ = true;
  absl::Status status = is_force_cancelled_ ? JobCancelled(*this) : body_->CoRun(context_);
  is_in_run_ = false;
  has_returned_ = true;
  const std::shared_ptr<JobTransaction> transaction = transaction_;
  transaction->CoArrive(*this, std::move(status));
}

absl::Status Job::CoSetUp() {
  Job* self = this;
  CoBeginSteps({&self, 1});
  absl::Status status = body_->CoSetUp();
  EndStep();
  return status;
}

void Job::CoDiscardBody() {
  Job* self = this;
  CoBeginSteps({&self, 1});
  body_->CoAbort();
  EndStep();
  CoBeginSteps({&self, 1});
  body_->CoClean();
  EndStep();
  body_.reset();
}

void Job::Transition(JobState to) {
  MILLRACE_CHECK(IsJobTransition(state_, to),
                 StrCat("J1: job '", id_, "' cannot go from ", JobStateName(state_), " to ",
                        JobStateName(to)));
  if (state_ == to) return;
  internal::TouchHere("job", id_, StepAccess::kWrite);
  state_ = to;
  scheduler_.MixTrace((number_.value() << 8) | static_cast<uint64_t>(to));
  Emit(JobEventKind::kStatusChange);
}

JobEvent Job::MakeEvent(JobEventKind kind) const {
  JobEvent event;
  event.kind = kind;
  event.number = number_;
  event.id = id_;
  event.type = type_;
  event.state = state_;
  event.current = progress_.current();
  event.total = progress_.total();
  event.speed = speed_;
  if (kind == JobEventKind::kCompleted || kind == JobEventKind::kCancelled) {
    event.status = result_;
    event.error = JobErrorText(result_);
  }
  return event;
}

void Job::Emit(JobEventKind kind) {
  if (!is_internal_) manager_.Emit(MakeEvent(kind));
}

void Job::Conclude() {
  MILLRACE_CHECK(granted_sections_ == 0 && quiet_waits_ == 0,
                 StrCat("J4: job '", id_, "' concludes with a drained section"));
  const std::string left = body_->DescribeLeftovers();
  MILLRACE_CHECK(left.empty(), StrCat("J4: job '", id_, "' concludes with ", left));
  Scheduler& scheduler = scheduler_;  // this may be freed by whoever suspends, wrongly, below
  const uint64_t step = scheduler.steps();
  if (is_started_) {
    scheduler.Count(Counter::kJobsEnded);
    Emit(is_force_cancelled_ ? JobEventKind::kCancelled : JobEventKind::kCompleted);
  }
  Transition(JobState::kConcluded);
  TellResult();
  manager_.something_ended_.Notify();
  if (!is_kept_for_dismissal()) Vanish();
  MILLRACE_CHECK(scheduler.steps() == step,
                 "J5: somebody suspended between the event that tells of a job's end and its "
                 "dismissal: an observer, or the destructor of a body");
}

void Job::TellResult() {
  while (ResultWaiter* waiter = result_waiters_.PopFront()) {
    waiter->result = result_;
    waiter->queue.WakeOne();
  }
}

void Job::VanishUnstarted(absl::Status reason) {
  result_ = std::move(reason);
  TellResult();
  Transition(JobState::kNull);
}

void Job::Vanish() {
  body_.reset();  // its edges and claims end here (J4)
  Transition(JobState::kNull);
  manager_.Retire(*this);
}

absl::Status Job::CoWaitUntilOver() {
  if (is_over()) return result_;
  ResultWaiter waiter;
  result_waiters_.PushBack(waiter);
  const ResultWait wait(*this);
  waiter.queue.CoWait("job.over", &wait);
  // The job may be gone: what it left is in the waiter.
  return waiter.result;
}

// ---- Quiescable and steps -----------------------------------------------------------------------

void Job::BeginQuiesce() {
  internal::TouchHere("job", id_, StepAccess::kWrite);
  ++quiesce_count_;
  Kick();  // so that a sleeping job comes to its pause point now
}

void Job::EndQuiesce() {
  internal::TouchHere("job", id_, StepAccess::kWrite);
  MILLRACE_CHECK(quiesce_count_ > 0, "a job's quiesce ended more often than begun");
  if (--quiesce_count_ == 0) parked_.WakeAll();
}

bool Job::is_quiet() const { return granted_sections_ == 0 && (!is_in_step_ || quiet_waits_ > 0); }

std::string Job::DescribeQuiescable() const {
  return StrCat(type_, " job '", id_.empty() ? ToString(number_) : id_, "'");
}

void Job::EnterQuietWait() {
  ++quiet_waits_;
  if (is_quiet()) NotifyQuiet();
}

void Job::CoLeaveQuietWait() {
  MILLRACE_MUTANT(kR22) {  // it pauses for others, with a section of its own in its hands
    const ParkedWait wait(*this);
    while (quiesce_count_ > 0) parked_.CoWait("job.held", &wait);
  }
  // Still counted as quiet, so that a drain that came first is not held up by us.
  Job* self = this;
  CoWaitWhileHeld({&self, 1});
  MILLRACE_CHECK(quiet_waits_ > 0, "left a quiet wait that was not entered");
  --quiet_waits_;
}

void Job::OnSectionGranted() {
  ++granted_sections_;
  parked_.WakeAll();
}

void Job::OnSectionEnded() {
  MILLRACE_CHECK(granted_sections_ > 0, "a job's section ended that was not granted");
  if (--granted_sections_ == 0 && is_quiet()) NotifyQuiet();
}

void Job::CoWaitWhileHeld(absl::Span<Job* const> jobs) {
  MILLRACE_MUTANT(kR09) {  // paused is for jobs that run; one that has run may complete
    if (jobs.front()->has_returned_) return;
  }
  for (size_t i = 0; i < jobs.size();) {
    if (!jobs[i]->is_held_by_drain()) {
      ++i;
      continue;
    }
    const ParkedWait wait(*jobs[i]);
    jobs[i]->parked_.CoWait("job.held", &wait);
    MILLRACE_SOMETIMES(jobs[i]->is_held_by_drain(), "job: let go by one drain, held by the next");
    i = 0;  // another one may have been caught meanwhile
  }
}

void Job::CoBeginSteps(absl::Span<Job* const> jobs) {
  CoWaitWhileHeld(jobs);
  for (Job* job : jobs) {
    MILLRACE_CHECK(!job->is_in_step_, "two steps of one job at a time");
    job->is_in_step_ = true;
  }
}

void Job::EndStep() {
  internal::TouchHere("job", id_, StepAccess::kWrite);
  MILLRACE_ALWAYS(is_in_step_, "job: a step that ends was begun");
  is_in_step_ = false;
  if (is_quiet()) NotifyQuiet();
}

absl::Status Job::CheckInvariants() const {
  const bool is_paused = state_ == JobState::kPaused || state_ == JobState::kStandby;
  const size_t in_flight = is_paused ? body_->CountRequestsInFlight() : 0;
  if (in_flight > 0) {
    return absl::InternalError(StrCat("J2: ", DescribeQuiescable(), " is paused and has ",
                                      in_flight, " requests in flight"));
  }
  if (state_ != JobState::kConcluded) return absl::OkStatus();
  std::string left = body_->DescribeLeftovers();
  if (granted_sections_ > 0) left = "a drained section";
  if (left.empty()) return absl::OkStatus();
  return absl::InternalError(StrCat("J4: ", DescribeQuiescable(), " is over and holds ", left));
}

// ---- In CoRun() ---------------------------------------------------------------------------------

void Job::CheckInRun() const {
  MILLRACE_CHECK(is_in_run_ && sleeper_.empty(),
                 "only CoRun() may pause or sleep, in one place at a time");
}

void Job::CoPark() {
  const JobState state = state_;
  const bool is_visible = !is_force_cancelled_;
  if (is_visible) {
    Transition(state == JobState::kReady ? JobState::kStandby : JobState::kPaused);
  }
  const size_t in_flight = body_->CountRequestsInFlight();
  MILLRACE_CHECK(in_flight == 0, StrCat("J2: ", DescribeQuiescable(), " pauses with ", in_flight,
                                        " requests in flight"));
  if (is_in_step_) EndStep();
  const ParkedWait wait(*this);
  while (must_park()) {
    parked_.CoWait("job.pause", &wait);
    MILLRACE_MUTANT(kR65) break;  // whoever wakes it means it
  }
  is_in_step_ = true;
  if (is_visible) Transition(state);
}

void Job::CoPausePoint() {
  CheckInRun();
  internal::TouchHere("job", id_, StepAccess::kRead);
  if (MILLRACE_BUGGIFY("job: yields at a pause point")) CoYield("job.odd");
  if (!must_park()) return;
  bool stops_io = true;
  MILLRACE_MUTANT(kM13) stops_io = false;  // it begins nothing; what it has begun goes on
  if (stops_io) body_->CoStopIo();
  // It may have been resumed while its requests ended.
  MILLRACE_SOMETIMES(!must_park(), "job: resumed before it has parked");
  if (must_park()) CoPark();
  body_->OnRestartIo();
}

void Job::OnTimer(void* self) { static_cast<Job*>(self)->sleeper_.WakeOne(); }

void Job::CoSleepUntil(Nanoseconds deadline) {
  CheckInRun();
  if (is_force_cancelled_) return;
  if (!must_park()) {
    if (deadline != kNever) scheduler_.Arm(timer_, deadline);
    const SleepWait wait(*this);
    sleeper_.CoWait(deadline == kNever ? "job.idle" : "job.sleep", &wait);
    MILLRACE_MUTANT(kR25) return CoPausePoint();  // the timer may fire when it likes
    scheduler_.Disarm(timer_);
  }
  CoPausePoint();
}

void Job::Kick() {
  // Disarmed here and not by the sleeper: between wake and run nobody must take it for asleep.
  MILLRACE_MUTANT(kR25) {
    sleeper_.WakeOne();
    return;
  }
  if (sleeper_.WakeOne()) scheduler_.Disarm(timer_);
}

void Job::CoBeforePiece() {
  // Whatever woke it early must not buy a piece: ask again until the limiter wants no delay (I14).
  Nanoseconds delay;
  do {
    const Nanoseconds now = scheduler_.Now();
    delay = limiter_.Account(now, 0);
    CoSleepUntil(now + delay);
    MILLRACE_MUTANT(kR24a) return;  // awake is awake
  } while (delay > 0 && !is_force_cancelled_);
}

void Job::BecomeReady() {
  MILLRACE_CHECK(is_in_run_, "a job becomes ready in CoRun()");
  Transition(JobState::kReady);
  Emit(JobEventKind::kReady);
}

ErrorAction Job::HandleError(OnError policy, IoOperation operation, const absl::Status& status) {
  MILLRACE_CHECK(!status.ok(), "a success was handled as an error");
  const bool is_out_of_space = IsOutOfSpace(status);
  const ErrorAction action = ErrorActionFor(policy, is_out_of_space);
  if (!is_internal_) {
    JobEvent event = MakeEvent(JobEventKind::kError);
    event.operation = operation;
    event.action = action;
    event.status = status;
    event.error = JobErrorText(status);
    manager_.Emit(event);
  }
  if (action == ErrorAction::kStop) {
    // Several requests may fail before the job parks; one resume undoes them all (race R63).
    MILLRACE_MUTANT(kR63) ++MutantNote<int>(this);
    if (!is_paused_by_user_) PauseForUser();
    if (io_status_ == JobIoStatus::kOk) {
      io_status_ = is_out_of_space ? JobIoStatus::kNoSpace : JobIoStatus::kFailed;
    }
  }
  return action;
}

// ---- Verbs --------------------------------------------------------------------------------------

void Job::PauseForUser() {
  internal::TouchHere("job", id_, StepAccess::kWrite);
  is_paused_by_user_ = true;
  Kick();
}

void Job::UndoUserPause() {
  internal::TouchHere("job", id_, StepAccess::kWrite);
  is_paused_by_user_ = false;
  io_status_ = JobIoStatus::kOk;
  body_->OnUserResume();
}

absl::Status Job::Pause() {
  PauseForUser();
  return absl::OkStatus();
}

absl::Status Job::Resume() {
  MILLRACE_MUTANT(kR63) {  // one resume for each error
    if (--MutantNote<int>(this) > 0) return absl::OkStatus();
  }
  UndoUserPause();
  parked_.WakeAll();
  return absl::OkStatus();
}

absl::Status Job::SetSpeed(int64_t bytes_per_second) {
  MILLRACE_RETURN_IF_ERROR(JobManager::CheckSpeed(id_, bytes_per_second));
  const int64_t old_speed = speed_;
  speed_ = bytes_per_second;
  limiter_.SetSpeed(static_cast<uint64_t>(bytes_per_second));
  body_->OnSetSpeed(bytes_per_second);
  const bool is_faster = bytes_per_second == 0 || bytes_per_second > old_speed;
  // Only a sleep that the old speed made long; an idle job has not been waiting for this.
  MILLRACE_MUTANT(kR24b) return absl::OkStatus();
  if (is_faster && timer_.is_armed()) Kick();
  return absl::OkStatus();
}

bool Job::can_complete() const { return !is_cancel_requested_ && body_->can_complete(); }

void Job::Complete() {
  body_->OnComplete();
  MILLRACE_MUTANT(kR65) parked_.WakeAll();
  Kick();  // not from a pause (race R65)
}

void Job::MarkCancelled(bool force) {
  internal::TouchHere("job", id_, StepAccess::kWrite);
  if (body_->OnCancel(force)) force = true;
  if (is_paused_by_user_) UndoUserPause();
  // A soft cancel asks for an end that has come by itself once CoRun() has returned.
  if (force || !has_returned_) {
    is_cancel_requested_ = true;
    is_force_cancelled_ |= force;
  }
}

void Job::WakeForVerb() {
  MILLRACE_MUTANT(kR26c) return parked_.WakeAll(), void();  // who sleeps will see it in time
  Kick();
  parked_.WakeAll();
}

// ---- Descriptions -------------------------------------------------------------------------------

ConflictHolder Job::holder() const {
  return {.id = id_.empty() ? ToString(number_) : id_,
          .type = StrCat(type_, " job"),
          .since = created_at_};
}

JobInfo Job::Describe() const {
  JobInfo info;
  info.number = number_;
  info.id = id_;
  info.type = type_;
  info.state = state_;
  info.is_internal = is_internal_;
  info.current = progress_.current();
  info.total = progress_.total();
  info.speed = speed_;
  info.is_busy = is_in_step_ && sleeper_.empty();
  info.is_pause_requested =
      state_ == JobState::kCreated || is_paused_by_user_ || quiesce_count_ > 0;
  info.is_paused_by_user = is_paused_by_user_;
  info.quiesce_count = quiesce_count_;
  info.is_cancel_requested = is_cancel_requested_ || is_cancel_recorded_;
  info.is_ready = is_ready();
  info.is_finalizing = state_ == JobState::kPending && transaction_->is_past_return();
  info.finalizes_automatically = finalizes_automatically_;
  info.dismisses_automatically = dismisses_automatically_;
  info.io_status = io_status_;
  info.status = result_;
  info.error = JobErrorText(result_);
  info.created_at = created_at_;
  if (body_ != nullptr) body_->Describe(info);
  return info;
}

void Job::ParkedWait::DescribeWait(WaitDescription& description) const {
  if (job.is_held_by_drain()) {
    description.object =
        StrCat("the end of ", job.quiesce_count_, " drains that hold ", job.DescribeQuiescable());
  } else {
    description.object = StrCat("the user to resume ", job.DescribeQuiescable());
    description.idle = true;
  }
}

void Job::SleepWait::DescribeWait(WaitDescription& description) const {
  if (job.timer_.is_armed()) {
    description.object = StrCat("time ", job.timer_.deadline(), " ns");
    description.external = true;
  } else {
    description.object = StrCat("work for ", job.DescribeQuiescable());
    description.idle = true;
  }
}

void Job::ResultWait::DescribeWait(WaitDescription& description) const {
  description.object = StrCat("the end of ", job.DescribeQuiescable());
}

}  // namespace millrace
