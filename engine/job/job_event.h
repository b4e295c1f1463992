// JobEvent: something that happened to a job, as a client sees it.
//
// Delivered to EngineObserver::OnJobEvent in exact order. A job started and finished without
// intervention says: status created, running, waiting, pending, then completed, then status
// concluded, null. Internal jobs say nothing. From kCompleted or kCancelled to the status null
// nothing suspends (J5), so a query right after the event shows no job, unless it waits to be
// dismissed.
#ifndef MILLRACE_ENGINE_JOB_JOB_EVENT_H_
#define MILLRACE_ENGINE_JOB_JOB_EVENT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "millrace/engine/job/error_policy.h"
#include "millrace/engine/job/job_state.h"

namespace millrace {

enum class JobEventKind : uint8_t {
  kStatusChange,  // state
  kReady,         // right after status ready: the user may complete it
  kError,         // operation, action; before the pause it causes
  kPending,       // right after status pending; only of jobs that are finalized by hand
  kCompleted,     // before status concluded; `status` and `error` tell how it ended
  kCancelled,     // in its place, if the job was cancelled by force
};

struct JobEvent {
  JobEventKind kind = JobEventKind::kStatusChange;
  JobNumber number;
  std::string id;
  std::string type;                       // "stream"
  JobState state = JobState::kUndefined;  // the state it is in now
  uint64_t current = 0;                   // progress, QEMU's "offset"
  uint64_t total = 0;                     // QEMU's "len"
  int64_t speed = 0;                      // bytes a second; 0 is no limit
  // kError only; of a stream always a read, as QEMU's clients are told, whichever end failed:
  // `status` says what did.
  IoOperation operation = IoOperation::kRead;
  ErrorAction action = ErrorAction::kReport;  // kError only
  absl::Status status;  // kError: the failure. kCompleted, kCancelled: how the job ended
  std::string error;    // JobErrorText(status)
};

// "job-status-change", "block-job-ready", …; for logs.
std::string_view JobEventKindName(JobEventKind kind);

// One line: "drive0: status running", "drive0: completed 'Input/output error' 0/1024".
std::string ToString(const JobEvent& event);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_JOB_EVENT_H_
