#include "tests/support/job_witness.h"

#include "millrace/engine/base/text.h"
#include "millrace/engine/job/job_tables.h"

namespace millrace {

void JobWitness::OnJobEvent(const JobEvent& event) {
  Job& job = jobs_[event.number.value()];
  if (!job.latest) {
    job.id = event.id;
    job.type = event.type;
  }
  if (const std::string_view wrong = Judge(job, event); !wrong.empty()) {
    report_(StrCat(wrong, ": ", ToString(event), "; before it was ", JobStateName(job.state)));
  }
  job.state = event.state;
  job.latest = event.kind;
  job.current = event.current;
  job.is_ready_told |= event.kind == JobEventKind::kReady;
  job.has_run |= event.state == JobState::kRunning;
  if (event.kind == JobEventKind::kCompleted || event.kind == JobEventKind::kCancelled) {
    job.has_ended = true;
    job.end = event.status;
    has_failed_job_ |= !event.status.ok() && !absl::IsCancelled(event.status);
    has_undone_job_ |= !event.status.ok();
  }
  has_undone_job_ |= event.state == JobState::kNull && !job.has_run;
}

std::string_view JobWitness::Judge(const Job& job, const JobEvent& event) const {
  if (event.id != job.id || event.type != job.type) return "a job has changed its name";
  if (event.current < job.current) return "progress went back";
  if (event.current > event.total) return "progress beyond its end";
  if (event.kind == JobEventKind::kStatusChange) return JudgeState(job, event.state);
  if (event.state != job.state) return "a state that was not told";
  if (job.has_ended) return "a word after that of the end";
  switch (event.kind) {
    case JobEventKind::kReady:
      if (job.is_ready_told) return "ready was told twice";
      [[fallthrough]];
    case JobEventKind::kPending: {
      const JobState wanted =
          event.kind == JobEventKind::kReady ? JobState::kReady : JobState::kPending;
      const bool is_right_after = job.latest == JobEventKind::kStatusChange && job.state == wanted;
      return is_right_after ? "" : "not right after its state";
    }
    case JobEventKind::kError:
      return job.has_run ? "" : "an error of a job that has not run";
    default:
      return JudgeEnd(job, event);
  }
}

std::string_view JobWitness::JudgeState(const Job& job, JobState to) const {
  if (!IsJobTransition(job.state, to) || job.state == to) return "J1: not in the table";
  // A client waits for the event; by the state alone it does not know that it may complete the job.
  if (job.state == JobState::kReady && !job.is_ready_told) return "ready was not told";
  if (job.has_ended) {
    const bool is_end = to == JobState::kConcluded || to == JobState::kNull;
    return is_end ? "" : "a state after the word of the end";
  }
  const bool is_over = to == JobState::kConcluded || to == JobState::kNull;
  return is_over && job.has_run ? "over without a word of the end" : "";
}

std::string_view JobWitness::JudgeEnd(const Job& job, const JobEvent& event) const {
  const bool is_well = event.status.ok();
  if (job.state != (is_well ? JobState::kPending : JobState::kAborting)) {
    return "an end that its state does not tell";
  }
  if (is_well && event.kind == JobEventKind::kCancelled) return "cancelled and well";
  if (is_well != event.error.empty()) return "an end and its text";
  return "";
}

std::vector<JobWitness::End> JobWitness::ends() const {
  std::vector<End> ends;
  for (const auto& [number, job] : jobs_) {
    if (job.has_run) ends.push_back({job.id, job.end});
  }
  return ends;
}

void JobWitness::OnAllOver() {
  for (const auto& [number, job] : jobs_) {
    if (job.state == JobState::kNull) continue;
    report_(StrCat("all is over, and job '", job.id, "' is ", JobStateName(job.state)));
  }
}

}  // namespace millrace
