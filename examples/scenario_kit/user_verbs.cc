#include "examples/scenario_kit/user_verbs.h"

#include <string>

#include "examples/scenario_kit/run_notes.h"
#include "millrace/engine/base/text.h"

namespace millrace {

namespace {

std::string SpeedInWords(int64_t bytes_per_second) {
  if (bytes_per_second == 0) return "no limit";
  return StrCat(bytes_per_second, bytes_per_second == 1 ? " byte" : " bytes", " a second");
}

}  // namespace

JobManager& UserVerbs::Noted(std::string_view verb, JobKey job, std::string_view how) {
  if (scheduler_.note_keeper() != nullptr) {
    const std::string name = job.is_number() ? StrCat("job number ", job.number().value())
                                             : StrCat("job '", job.id(), "'");
    NoteAct(scheduler_, "user", StrCat(verb, " ", name, how));
  }
  return jobs_;
}

JobManager& UserVerbs::NotedSpeed(JobKey job, int64_t bytes_per_second) {
  if (scheduler_.note_keeper() == nullptr) return jobs_;
  const absl::StatusOr<JobInfo> before = jobs_.Query(job);
  const std::string old = before.ok() ? StrCat(" from ", SpeedInWords(before->speed)) : "";
  return Noted("changes the speed of", job, StrCat(old, " to ", SpeedInWords(bytes_per_second)));
}

}  // namespace millrace
