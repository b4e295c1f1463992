#include "millrace/engine/job/job_refusal.h"

#include <string>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

using absl::StatusCode;

std::string NameOf(const Job& job) { return job.id().empty() ? ToString(job.number()) : job.id(); }

absl::Status OfJob(const Job& job, ConflictReason reason, std::string_view what,
                   std::string_view next_step, std::string_view detail = {}) {
  return ConflictStatus(StatusCode::kFailedPrecondition,
                        {.reason = reason,
                         .object = NameOf(job),
                         .holders = {job.holder()},
                         .next_step = std::string(next_step),
                         .detail = std::string(detail)},
                        StrCat(what, "; ", next_step));
}

}  // namespace

absl::Status UnknownJob(const JobKey& key) {
  const std::string name = key.is_number() ? ToString(key.number()) : std::string(key.id());
  return ConflictStatus(StatusCode::kNotFound,
                        {.reason = ConflictReason::kUnknownJob,
                         .object = name,
                         .next_step = "list the jobs; it may have ended"},
                        StrCat("no job '", name, "'; list the jobs, it may have ended"));
}

absl::Status UnknownEndedJob(const JobKey& key, bool has_existed) {
  const std::string name = key.is_number() ? ToString(key.number()) : std::string(key.id());
  std::string text = StrCat("no job '", name, "', and none of the last ", JobResults::kKept,
                            " that ended was called so; list the jobs");
  if (has_existed) {
    text = StrCat("job '", name, "' has ended, but more than ", JobResults::kKept,
                  " have ended since and its result is forgotten; ask sooner");
  }
  return ConflictStatus(StatusCode::kNotFound,
                        {.reason = ConflictReason::kUnknownJob,
                         .object = name,
                         .next_step = has_existed ? "ask sooner" : "list the jobs"},
                        text);
}

absl::Status DuplicateJobId(const Job& holder) {
  const std::string_view next = holder.state() == JobState::kConcluded
                                    ? "dismiss that job or choose another id"
                                    : "wait for that job to end or choose another id";
  return ConflictStatus(StatusCode::kAlreadyExists,
                        {.reason = ConflictReason::kDuplicateJobId,
                         .object = holder.id(),
                         .holders = {holder.holder()},
                         .next_step = std::string(next)},
                        StrCat("cannot create job '", holder.id(), "': a ", holder.type(),
                               " job has this id (", JobStateName(holder.state()), "); ", next));
}

absl::Status MalformedJobId(std::string_view id) {
  return ConflictStatus(
      StatusCode::kInvalidArgument,
      {.reason = ConflictReason::kMalformedJobId,
       .object = std::string(id),
       .next_step = "use a letter followed by letters, digits, '-', '.' and '_'"},
      StrCat("cannot create job '", id,
             "': malformed id; use a letter followed by letters, digits, '-', '.' and '_'"));
}

absl::Status MissingJobId() {
  return ConflictStatus(
      StatusCode::kInvalidArgument,
      {.reason = ConflictReason::kMissingJobId, .next_step = "give the job an id"},
      "cannot create a job without an id; set its spec.id");
}

absl::Status InternalJobId(std::string_view id) {
  return ConflictStatus(
      StatusCode::kInvalidArgument,
      {.reason = ConflictReason::kInternalJobId,
       .object = std::string(id),
       .next_step = "leave the id out"},
      StrCat("cannot create internal job '", id, "': internal jobs have no id; leave it out"));
}

absl::Status TransactionClosed(std::string_view id) {
  return ConflictStatus(StatusCode::kFailedPrecondition,
                        {.reason = ConflictReason::kTransactionClosed,
                         .object = std::string(id),
                         .next_step = "create it before a member is done"},
                        StrCat("cannot create job '", id,
                               "': its transaction has begun to end; create all members before "
                               "the first of them is done"));
}

absl::Status ShuttingDown(std::string_view id) {
  return ConflictStatus(
      StatusCode::kFailedPrecondition,
      {.reason = ConflictReason::kShuttingDown,
       .object = std::string(id),
       .next_step = "create it in another engine"},
      StrCat("cannot create job '", id, "': the engine is ending its jobs; use another engine"));
}

absl::Status NegativeSpeed(std::string_view id, int64_t bytes_per_second) {
  return ConflictStatus(StatusCode::kInvalidArgument,
                        {.reason = ConflictReason::kNegativeSpeed,
                         .object = std::string(id),
                         .next_step = "give bytes a second, 0 for no limit",
                         .detail = StrCat(bytes_per_second)},
                        StrCat("cannot set the speed of job '", id, "' to ", bytes_per_second,
                               ": it is negative; give bytes a second, 0 for no limit"));
}

absl::Status VerbNotAccepted(const Job& job, std::string_view verb) {
  const std::string_view state = JobStateName(job.state());
  return OfJob(job, ConflictReason::kVerbNotAccepted,
               StrCat("cannot ", verb, " job '", NameOf(job), "' in state ", state),
               "query the job and wait for a state that accepts it", StrCat(verb, " ", state));
}

absl::Status CancelledBeforeStart(const Job& job) {
  return OfJob(job, ConflictReason::kCancelledBefore,
               StrCat("cannot start job '", NameOf(job), "': it was cancelled"), "create it again");
}

absl::Status JobCancelled(const Job& job) {
  return absl::CancelledError(StrCat(job.DescribeQuiescable(), " was cancelled"));
}

absl::Status NoCoroutine(const Job& job, std::string_view verb) {
  return absl::ResourceExhaustedError(
      StrCat("cannot ", verb, " job '", NameOf(job),
             "': no memory for its coroutine; let other jobs end and try again"));
}

absl::Status AlreadyPaused(const Job& job) {
  return OfJob(job, ConflictReason::kAlreadyPaused,
               StrCat("cannot pause job '", NameOf(job), "': it is paused already"),
               "resume it when it shall go on");
}

absl::Status NotPaused(const Job& job) {
  return OfJob(job, ConflictReason::kNotPaused,
               StrCat("cannot resume job '", NameOf(job), "': nobody paused it"),
               "nothing is to be done, unless a drain holds it, which ends by itself");
}

absl::Status CannotComplete(const Job& job) {
  return OfJob(
      job, ConflictReason::kCannotComplete,
      StrCat("cannot complete job '", NameOf(job), "': ",
             job.is_cancel_requested() ? "it is being cancelled" : "its type ends by itself"),
      "wait for it to end");
}

absl::Status PausedNeedsForce(const Job& job) {
  return OfJob(job, ConflictReason::kPausedNeedsForce,
               StrCat("cannot cancel job '", NameOf(job), "': the user paused it"),
               "resume it first or cancel by force");
}

}  // namespace millrace
