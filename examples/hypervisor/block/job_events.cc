#include "examples/hypervisor/block/job_events.h"

#include <optional>
#include <string>
#include <string_view>

#include "examples/common/conflict_text.h"
#include "examples/hypervisor/block/create_job.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/job/error_policy.h"
#include "millrace/engine/job/job_state.h"
#include "millrace/jobs/late_refusal.h"

namespace millrace {
namespace {

// A mirror's; QEMU has it among what it tells of block jobs.
constexpr char kActivelySynced[] = "actively-synced";

json::object Progress(const JobEvent& event) {
  return {{"type", JsonText(event.type)},
          {"device", JsonText(event.id)},
          {"len", event.total},
          {"offset", event.current},
          {"speed", event.speed}};
}

// How a job ended, in QEMU's words where it has some.
json::string ErrorText(const absl::Status& status, const std::string& error) {
  if (const std::optional<QmpErrorReply> own = QmpErrorOf(status)) return JsonText(own->desc);
  const std::optional<Conflict> conflict = ConflictOf(status);
  // That the target may no longer replace what it was to replace: QEMU says why on its terminal
  // only.
  if (conflict && conflict->reason == ConflictReason::kViewWouldChange) {
    return "Operation not permitted";
  }
  const std::string text = conflict ? ConflictText(*conflict) : std::string();
  return JsonText(text.empty() ? error : text);
}

}  // namespace

void TellOfRefusedJob(EventSink& events, const absl::Status& status) {
  const std::optional<std::string> id = LateRefusedJob(status);
  if (!id) return;
  for (const JobState state : {JobState::kCreated, JobState::kNull}) {
    events.Emit("JOB_STATUS_CHANGE",
                {{"status", JsonText(JobStateName(state))}, {"id", JsonText(*id)}});
  }
}

void EmitJobEvent(EventSink& events, const JobEvent& event) {
  // Who creates an image is no block job.
  if (event.type == kCreateJobType && event.kind != JobEventKind::kStatusChange) return;
  switch (event.kind) {
    case JobEventKind::kStatusChange:
      return events.Emit("JOB_STATUS_CHANGE", {{"status", JsonText(JobStateName(event.state))},
                                               {"id", JsonText(event.id)}});
    case JobEventKind::kReady:
      return events.Emit("BLOCK_JOB_READY", Progress(event));
    case JobEventKind::kError:
      return events.Emit("BLOCK_JOB_ERROR",
                         {{"device", JsonText(event.id)},
                          {"operation", JsonText(IoOperationName(event.operation))},
                          {"action", JsonText(ErrorActionName(event.action))}});
    case JobEventKind::kPending:
      return events.Emit("BLOCK_JOB_PENDING",
                         {{"type", JsonText(event.type)}, {"id", JsonText(event.id)}});
    case JobEventKind::kCompleted: {
      json::object data = Progress(event);
      if (!event.status.ok()) data["error"] = ErrorText(event.status, event.error);
      return events.Emit("BLOCK_JOB_COMPLETED", std::move(data));
    }
    case JobEventKind::kCancelled:
      return events.Emit("BLOCK_JOB_CANCELLED", Progress(event));
  }
}

json::object DescribeBlockJob(const JobInfo& job) {
  json::object shown = {{"auto-finalize", job.finalizes_automatically},
                        {"io-status", JsonText(JobIoStatusName(job.io_status))},
                        {"device", JsonText(job.id)},
                        {"auto-dismiss", job.dismisses_automatically},
                        {"busy", job.is_busy},
                        {"len", job.total},
                        {"offset", job.current},
                        {"status", JsonText(JobStateName(job.state))},
                        {"paused", job.is_pause_requested},
                        {"speed", job.speed},
                        {"ready", job.is_ready},
                        {"type", JsonText(job.type)}};
  if (!job.error.empty()) shown["error"] = ErrorText(job.status, job.error);
  for (const JobFigure& figure : job.figures) {
    if (figure.name == kActivelySynced) shown[kActivelySynced] = figure.value != 0;
  }
  return shown;
}

json::object DescribeJob(const JobInfo& job) {
  json::object shown = {{"current-progress", job.current},
                        {"status", JsonText(JobStateName(job.state))},
                        {"total-progress", job.total},
                        {"type", JsonText(job.type)},
                        {"id", JsonText(job.id)}};
  if (!job.error.empty()) shown["error"] = ErrorText(job.status, job.error);
  for (const JobFigure& figure : job.figures) {
    if (figure.name == kActivelySynced) continue;
    shown[StrCat("x-millrace-", figure.name)] = figure.value;
  }
  return shown;
}

}  // namespace millrace
