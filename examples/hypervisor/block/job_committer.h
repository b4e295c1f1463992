// The committer of the daemon's jobs: block jobs change the graph together; a job that makes an
// image changes nothing in it.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_COMMITTER_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_COMMITTER_H_

#include "examples/hypervisor/block/create_job.h"
#include "millrace/jobs/block_job.h"

namespace millrace {

class DaemonJobCommitter final : public JobCommitter {
 public:
  explicit DaemonJobCommitter(Graph& graph) : block_jobs_(graph) {}

  absl::StatusOr<CommitOutcome> CoCommit(absl::Span<JobBody* const> members) override
      MILLRACE_MAY_SUSPEND {
    // Such a job is alone in its transaction.
    if (members.front()->type() == kCreateJobType) return CommitOutcome::kApplied;
    return block_jobs_.CoCommit(members);
  }

 private:
  BlockJobCommitter block_jobs_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_COMMITTER_H_
