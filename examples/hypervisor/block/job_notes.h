// JobNotes: what QEMU tells of a job that follows from what has happened to it, beyond its state.
//
// A mirror that waits to be finalized counts as paused: QEMU keeps its source drained until then.
// `cont` forgets that a job has met errors, though it stays paused. Why a mirror may not replace
// what it was to replace any more is said on the terminal, with its target. Home thread only.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_NOTES_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_NOTES_H_

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "millrace/engine/job/job_event.h"
#include "millrace/engine/job/job_info.h"
#include "millrace/engine/job/job_manager.h"

namespace millrace {

class JobNotes {
 public:
  void OnEvent(const JobEvent& event);
  // From now on the I/O status of each job there is, is ok, until its next error.
  void ForgetErrors(const JobManager& jobs);
  // The job as QEMU would tell of it.
  JobInfo Told(JobInfo job) const;
  // What a mirror copies to; "" if nobody has said so.
  void NoteTarget(std::string_view job, std::string_view node) {
    targets_.insert_or_assign(std::string(job), std::string(node));
  }
  std::string TargetOf(std::string_view job) const;

 private:
  std::set<std::string, std::less<>> once_ready_;
  std::set<std::string, std::less<>> forgiven_;
  std::map<std::string, std::string, std::less<>> targets_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_NOTES_H_
