// JobBoard: what all jobs of an engine are doing, for a ProgressDisplay. Jobs that are gone stay on
// the board as done or failed.
#ifndef MILLRACE_EXAMPLES_QUICKSTART_JOB_BOARD_H_
#define MILLRACE_EXAMPLES_QUICKSTART_JOB_BOARD_H_

#include <string>
#include <vector>

#include "examples/common/progress_display.h"
#include "millrace/engine/job/job_event.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/engine/observer.h"

namespace millrace {

class JobBoard final : public EngineObserver {
 public:
  // Adds what the events do not tell: progress between them.
  void Refresh(const JobManager& jobs);
  const std::vector<ProgressEntry>& entries() const { return entries_; }
  void Clear() { entries_.clear(); }
  // Warnings of the library, in order.
  const std::vector<std::string>& warnings() const { return warnings_; }

  void OnJobEvent(const JobEvent& event) override;
  void OnLog(LogLevel level, std::string_view line) override;

 private:
  // Null for jobs that copy nothing, as those that insert filters.
  ProgressEntry* Find(const std::string& id, const std::string& type);

  std::vector<ProgressEntry> entries_;  // in order of creation
  std::vector<std::string> warnings_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_QUICKSTART_JOB_BOARD_H_
