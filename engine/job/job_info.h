// JobInfo: what a query shows of one job; a copy, for any client.
#ifndef MILLRACE_ENGINE_JOB_JOB_INFO_H_
#define MILLRACE_ENGINE_JOB_JOB_INFO_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/job/error_policy.h"
#include "millrace/engine/job/job_state.h"
#include "millrace/engine/scheduler/clock.h"

namespace millrace {

// What a job's body tells of itself besides.
struct JobFigure {
  std::string name;  // "latency-target"
  uint64_t value = 0;
};

struct JobInfo {
  JobNumber number;
  std::string id;  // empty for an internal job
  std::string type;
  JobState state = JobState::kUndefined;
  bool is_internal = false;
  uint64_t current = 0;  // progress
  uint64_t total = 0;
  int64_t speed = 0;  // bytes a second; 0 is no limit
  // Whether its coroutine works, as opposed to sleeping, being parked or having ended.
  bool is_busy = false;
  // Whether somebody asked it to pause (the user, a drain, or that it was not started); whether it
  // has come to rest is what `state` says.
  bool is_pause_requested = false;
  bool is_paused_by_user = false;
  int quiesce_count = 0;  // drained sections that hold it now
  bool is_cancel_requested = false;
  bool is_ready = false;       // state ready or standby
  bool is_finalizing = false;  // state pending, and its transaction is past the point of return
  bool finalizes_automatically = true;
  bool dismisses_automatically = true;
  JobIoStatus io_status = JobIoStatus::kOk;
  absl::Status status;  // how it ended, once it has (waiting or later)
  std::string error;    // JobErrorText(status)
  Nanoseconds created_at = 0;
  std::vector<JobFigure> figures;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_JOB_INFO_H_
