// A refusal from the last steps of a block job's set-up. QEMU has made the job by then, and its
// clients see it created and gone; here nothing of it was ever seen, and who speaks to such clients
// tells them so. What was refused, and why, is the status's own.
#ifndef MILLRACE_JOBS_LATE_REFUSAL_H_
#define MILLRACE_JOBS_LATE_REFUSAL_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "millrace/jobs/block_job.h"

namespace millrace {

// Marks it; `status` as it is if it is OK, or the job has no id.
absl::Status AsLateRefusal(absl::Status status, const BlockJobProofs& proofs);
// The same only where somebody's permissions are in the way: by them a job may be refused when its
// filter goes into its place, which in QEMU is early, or when it takes its nodes.
absl::Status AsLateIfOfPermissions(absl::Status status, const BlockJobProofs& proofs);
// The id that the job would have had; nothing if `status` is no such refusal.
std::optional<std::string> LateRefusedJob(const absl::Status& status);

}  // namespace millrace

#endif  // MILLRACE_JOBS_LATE_REFUSAL_H_
