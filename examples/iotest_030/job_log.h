// JobLog: the events of all jobs in order, and waiting for one of them.
//
//   const JobEvent end = log.CoTakeEnd("drive0");
//
// An engine's observer. Home thread only.
#ifndef MILLRACE_EXAMPLES_IOTEST_030_JOB_LOG_H_
#define MILLRACE_EXAMPLES_IOTEST_030_JOB_LOG_H_

#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/job_event.h"
#include "millrace/engine/observer.h"
#include "millrace/engine/sync/condition.h"

namespace millrace {

class JobLog final : public EngineObserver {
 public:
  const std::vector<JobEvent>& events() const { return events_; }
  void Clear() {
    events_.clear();
    is_taken_.clear();
  }

  // The first event of the job that `is_wanted` and was not taken before; waits until there is one.
  JobEvent CoTake(std::string_view id, absl::FunctionRef<bool(const JobEvent&)> is_wanted)
      MILLRACE_MAY_SUSPEND;
  JobEvent CoTakeState(std::string_view id, JobState state) MILLRACE_MAY_SUSPEND;
  JobEvent CoTakeKind(std::string_view id, JobEventKind kind) MILLRACE_MAY_SUSPEND;
  // Completed or cancelled.
  JobEvent CoTakeEnd(std::string_view id) MILLRACE_MAY_SUSPEND;

  void OnJobEvent(const JobEvent& event) override;

 private:
  std::vector<JobEvent> events_;
  std::vector<bool> is_taken_;
  Condition something_happened_{"job events"};
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_IOTEST_030_JOB_LOG_H_
