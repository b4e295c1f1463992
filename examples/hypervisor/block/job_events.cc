#include "examples/hypervisor/block/job_events.h"

#include <string_view>

#include "millrace/engine/job/error_policy.h"
#include "millrace/engine/job/job_state.h"

namespace millrace {
namespace {

json::string Text(std::string_view text) { return json::string(text.data(), text.size()); }

json::object Progress(const JobEvent& event) {
  return {{"type", Text(event.type)},
          {"device", Text(event.id)},
          {"len", event.total},
          {"offset", event.current},
          {"speed", event.speed}};
}

}  // namespace

void EmitJobEvent(EventSink& events, const JobEvent& event) {
  switch (event.kind) {
    case JobEventKind::kStatusChange:
      return events.Emit("JOB_STATUS_CHANGE",
                         {{"status", Text(JobStateName(event.state))}, {"id", Text(event.id)}});
    case JobEventKind::kReady:
      return events.Emit("BLOCK_JOB_READY", Progress(event));
    case JobEventKind::kError:
      return events.Emit("BLOCK_JOB_ERROR", {{"device", Text(event.id)},
                                             {"operation", Text(IoOperationName(event.operation))},
                                             {"action", Text(ErrorActionName(event.action))}});
    case JobEventKind::kPending:
      return events.Emit("BLOCK_JOB_PENDING", {{"type", Text(event.type)}, {"id", Text(event.id)}});
    case JobEventKind::kCompleted: {
      json::object data = Progress(event);
      if (!event.status.ok()) data["error"] = Text(event.error);
      return events.Emit("BLOCK_JOB_COMPLETED", std::move(data));
    }
    case JobEventKind::kCancelled:
      return events.Emit("BLOCK_JOB_CANCELLED", Progress(event));
  }
}

json::object DescribeBlockJob(const JobInfo& job) {
  json::object shown = {{"auto-finalize", job.finalizes_automatically},
                        {"io-status", Text(JobIoStatusName(job.io_status))},
                        {"device", Text(job.id)},
                        {"auto-dismiss", job.dismisses_automatically},
                        {"busy", job.is_busy},
                        {"len", job.total},
                        {"offset", job.current},
                        {"status", Text(JobStateName(job.state))},
                        {"paused", job.is_pause_requested},
                        {"speed", job.speed},
                        {"ready", job.is_ready},
                        {"type", Text(job.type)}};
  if (!job.error.empty()) shown["error"] = Text(job.error);
  return shown;
}

json::object DescribeJob(const JobInfo& job) {
  json::object shown = {{"current-progress", job.current},
                        {"status", Text(JobStateName(job.state))},
                        {"total-progress", job.total},
                        {"type", Text(job.type)},
                        {"id", Text(job.id)}};
  if (!job.error.empty()) shown["error"] = Text(job.error);
  return shown;
}

}  // namespace millrace
