// What a scenario's user says to jobs: JobManager's verbs, each noted in the recording of the run,
// so that a replay page can say "the user finalizes 'c'" where that happens. The errors are the
// manager's. Home thread only.
#ifndef MILLRACE_EXAMPLES_SCENARIO_KIT_USER_VERBS_H_
#define MILLRACE_EXAMPLES_SCENARIO_KIT_USER_VERBS_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/engine/scheduler/scheduler.h"

namespace millrace {

class UserVerbs {
 public:
  // Both outlive it.
  UserVerbs(Scheduler& scheduler, JobManager& jobs) : scheduler_(scheduler), jobs_(jobs) {}

  absl::Status Pause(JobKey job) { return Noted("pauses", job).Pause(job); }
  absl::Status Resume(JobKey job) { return Noted("resumes", job).Resume(job); }
  absl::Status Complete(JobKey job) { return Noted("completes", job).Complete(job); }
  absl::Status Finalize(JobKey job) { return Noted("finalizes", job).Finalize(job); }
  absl::Status Cancel(JobKey job, bool force) { return Noted("cancels", job).Cancel(job, force); }
  absl::Status SetSpeed(JobKey job, int64_t bytes_per_second) {
    return NotedSpeed(job, bytes_per_second).SetSpeed(job, bytes_per_second);
  }

 private:
  JobManager& Noted(std::string_view verb, JobKey job, std::string_view how = {});
  JobManager& NotedSpeed(JobKey job, int64_t bytes_per_second);

  Scheduler& scheduler_;
  JobManager& jobs_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_SCENARIO_KIT_USER_VERBS_H_
