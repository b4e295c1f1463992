// JobInfo: what a query shows of one job; a copy, for any client.
//
// JobManager::Query() and QueryAll() make it, at one moment of the home thread: what is in it fits
// together, and is old as soon as anything suspends. Plain data; owns all it has; may go to any
// thread. A job is named later by its number, which is never another job's.
//
//   absl::StatusOr<JobInfo> job = jobs.Query("stream0");
//   if (job.ok() && job->total > 0) Show(100 * job->current / job->total, "percent");
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

// What a job's body tells of itself besides. Which there are is the body's to say; names are
// stable.
struct JobFigure {
  std::string name;    // "latency-target"
  uint64_t value = 0;  // in the figure's own unit: latencies are nanoseconds
};

struct JobInfo {
  JobNumber number;
  std::string id;    // empty for an internal job
  std::string type;  // the body's: "stream", "commit", "mirror"
  JobState state = JobState::kUndefined;
  bool is_internal = false;
  // Progress, in the body's unit: bytes for the library's jobs. `current` only grows; `total` is
  // never below it and goes either way, as work is found or turns out to be none.
  uint64_t current = 0;
  uint64_t total = 0;
  int64_t speed = 0;  // bytes a second; 0 is no limit
  // Whether its coroutine works, as opposed to sleeping, being parked or having ended.
  bool is_busy = false;
  // Whether somebody asked it to pause (the user, a drain, or that it was not started); whether it
  // has come to rest is what `state` says.
  bool is_pause_requested = false;
  bool is_paused_by_user = false;  // or by an error whose policy is to stop
  int quiesce_count = 0;           // drained sections that hold it now
  bool is_cancel_requested = false;
  bool is_ready = false;       // state ready or standby
  bool is_finalizing = false;  // state pending, and its transaction is past the point of return
  bool finalizes_automatically = true;
  bool dismisses_automatically = true;
  JobIoStatus io_status = JobIoStatus::kOk;  // of the error that stopped it; until it is resumed
  // How it ended, once it has (waiting or later); OK before. Cancelled: by a user or at the end of
  // the manager; else what the body, or the edit that finishes it, failed with.
  absl::Status status;
  std::string error;           // JobErrorText(status)
  Nanoseconds created_at = 0;  // by the engine's clock (Scheduler::Now())
  std::vector<JobFigure> figures;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_JOB_INFO_H_
