// JobBoard: what all jobs of an engine are doing, for a ProgressDisplay and for the chains'
// witnesses, and what the engine has counted. Jobs that are gone stay on the board as done or
// failed.
#ifndef MILLRACE_EXAMPLES_QUICKSTART_JOB_BOARD_H_
#define MILLRACE_EXAMPLES_QUICKSTART_JOB_BOARD_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "examples/common/progress_display.h"
#include "examples/quickstart/witness.h"
#include "millrace/engine/job/job_event.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/engine/observer.h"

namespace millrace {

class JobBoard final : public EngineObserver {
 public:
  // Adds what the events do not tell: progress between them.
  void Refresh(const JobManager& jobs);
  const std::vector<ProgressEntry>& entries() const { return entries_; }
  // Has the witness, which stays there, told of every job from now on.
  void Tell(Witness& witness) { witnesses_.push_back(&witness); }
  // Warnings of the library, in order.
  const std::vector<std::string>& warnings() const { return warnings_; }
  uint64_t Of(Counter counter) const { return counts_[static_cast<size_t>(counter)]; }

  void OnJobEvent(const JobEvent& event) override;
  void OnLog(LogLevel level, std::string_view line) override;
  void OnCounter(Counter counter, uint64_t delta) override {
    counts_[static_cast<size_t>(counter)] += delta;
  }

 private:
  // Null for jobs that copy nothing, as those that insert filters.
  ProgressEntry* Find(const std::string& id, const std::string& type);

  std::vector<ProgressEntry> entries_;  // in order of creation
  std::vector<Witness*> witnesses_;
  std::vector<std::string> warnings_;
  std::array<uint64_t, kCounters> counts_ = {};
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_QUICKSTART_JOB_BOARD_H_
