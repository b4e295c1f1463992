#include "millrace/engine/job/job_event.h"

#include "millrace/engine/base/text.h"

namespace millrace {

std::string_view JobEventKindName(JobEventKind kind) {
  switch (kind) {
    case JobEventKind::kStatusChange:
      return "job-status-change";
    case JobEventKind::kReady:
      return "block-job-ready";
    case JobEventKind::kError:
      return "block-job-error";
    case JobEventKind::kPending:
      return "block-job-pending";
    case JobEventKind::kCompleted:
      return "block-job-completed";
    case JobEventKind::kCancelled:
      return "block-job-cancelled";
  }
  return "unknown";
}

std::string ToString(const JobEvent& event) {
  std::string line = StrCat(event.id, ": ");
  switch (event.kind) {
    case JobEventKind::kStatusChange:
      StrAppend(&line, "status ", JobStateName(event.state));
      break;
    case JobEventKind::kError:
      StrAppend(&line, "error in ", IoOperationName(event.operation), ", ",
                ErrorActionName(event.action), " '", event.error, "'");
      break;
    case JobEventKind::kReady:
      StrAppend(&line, "ready ", event.current, "/", event.total);
      break;
    case JobEventKind::kPending:
      StrAppend(&line, "pending");
      break;
    case JobEventKind::kCompleted:
    case JobEventKind::kCancelled:
      StrAppend(&line, event.kind == JobEventKind::kCompleted ? "completed " : "cancelled ",
                event.status.ok() ? "" : StrCat("'", event.error, "' "), event.current, "/",
                event.total);
      break;
  }
  return line;
}

}  // namespace millrace
