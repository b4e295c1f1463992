// The refusals of the job core: our text and the conflict, in one place. Internal; not installed.
#ifndef MILLRACE_ENGINE_JOB_JOB_REFUSAL_H_
#define MILLRACE_ENGINE_JOB_JOB_REFUSAL_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "millrace/engine/job/job.h"
#include "millrace/engine/job/job_state.h"

namespace millrace {

absl::Status UnknownJob(const JobKey& key);
// For whoever asks how a job ended. `has_existed`: it is only too long ago.
absl::Status UnknownEndedJob(const JobKey& key, bool has_existed);
absl::Status DuplicateJobId(const Job& holder);
absl::Status MalformedJobId(std::string_view id);
absl::Status MissingJobId();
absl::Status InternalJobId(std::string_view id);
absl::Status TransactionClosed(std::string_view id);
absl::Status ShuttingDown(std::string_view id);
absl::Status NegativeSpeed(std::string_view id, int64_t bytes_per_second);
// `verb` is a wire name, or "start", which no table knows.
absl::Status VerbNotAccepted(const Job& job, std::string_view verb);
absl::Status CancelledBeforeStart(const Job& job);
// Not a refusal: how a job ends that was cancelled.
absl::Status JobCancelled(const Job& job);
absl::Status NoCoroutine(const Job& job, std::string_view verb);
absl::Status AlreadyPaused(const Job& job);
absl::Status NotPaused(const Job& job);
absl::Status CannotComplete(const Job& job);
absl::Status PausedNeedsForce(const Job& job);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_JOB_REFUSAL_H_
