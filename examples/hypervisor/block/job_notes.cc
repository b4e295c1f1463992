#include "examples/hypervisor/block/job_notes.h"

namespace millrace {

void JobNotes::OnEvent(const JobEvent& event) {
  switch (event.kind) {
    case JobEventKind::kReady:
      once_ready_.insert(event.id);
      return;
    case JobEventKind::kError:
      forgiven_.erase(event.id);
      return;
    case JobEventKind::kStatusChange:
      if (event.state != JobState::kNull) return;
      once_ready_.erase(event.id);
      forgiven_.erase(event.id);
      targets_.erase(event.id);
      return;
    default:
      return;
  }
}

void JobNotes::ForgetErrors(const JobManager& jobs) {
  for (const JobInfo& job : jobs.QueryAll()) {
    if (job.io_status != JobIoStatus::kOk) forgiven_.insert(job.id);
  }
}

std::string JobNotes::TargetOf(std::string_view job) const {
  const auto found = targets_.find(job);
  return found == targets_.end() ? std::string() : found->second;
}

JobInfo JobNotes::Told(JobInfo job) const {
  const bool waits = job.state == JobState::kWaiting || job.state == JobState::kPending;
  if (waits && once_ready_.contains(job.id)) job.is_pause_requested = true;
  if (forgiven_.contains(job.id)) job.io_status = JobIoStatus::kOk;
  return job;
}

}  // namespace millrace
