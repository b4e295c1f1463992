// blockdev-create as a job: makes an image in a file, or a file. Type "create"; it is no block job:
// the older commands and BLOCK_JOB_ events know nothing of it.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_CREATE_JOB_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_CREATE_JOB_H_

#include <functional>
#include <string_view>
#include <utility>

#include "millrace/engine/job/job_body.h"

namespace millrace {

inline constexpr std::string_view kCreateJobType = "create";

class CreateJob final : public JobBody {
 public:
  using Work = std::function<absl::Status(JobContext& context)>;
  // `work` may suspend. If the job is cancelled meanwhile, it ends soon; what it returns then is of
  // no matter.
  explicit CreateJob(Work work) : work_(std::move(work)) {}

  std::string_view type() const override { return kCreateJobType; }
  absl::Status CoRun(JobContext& context) override MILLRACE_MAY_SUSPEND {
    context.SetRemaining(1);
    absl::Status status = work_(context);
    context.Advance(1);
    return status;
  }

 private:
  const Work work_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_CREATE_JOB_H_
