// Witness: what met what on one chain, as its guest and the engine's events tell it.
//
// Jobs that run one after the other, beside a guest that does nothing, leave the same images behind
// as jobs that met everybody. The verdict tells the two apart.
#ifndef MILLRACE_EXAMPLES_QUICKSTART_WITNESS_H_
#define MILLRACE_EXAMPLES_QUICKSTART_WITNESS_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/job_event.h"
#include "millrace/engine/sync/condition.h"

namespace millrace {

class Witness {
 public:
  struct Demands {
    std::vector<std::string> jobs_at_once;  // all of them at work at some moment
    std::vector<std::string> filters;       // each went in beside a job at work, and came out
    uint64_t reads = 0;                     // of the guest, beside jobs at work, and checked
    uint64_t writes = 0;
  };

  // A chain's jobs are called "<chain>-<name>": streams and commits, which are at work from running
  // until they wait to be finished; and "<filter>-in" and "<filter>-out", which move filters.
  explicit Witness(std::string_view chain) : chain_(chain), something_happened_("the witness") {}

  // Of any job; other chains' are not looked at.
  void OnJobEvent(const JobEvent& event);
  // A read was done and is as expected; a write was done; the guest does no more.
  void OnGuestRead();
  void OnGuestWrite();
  void OnGuestOver();

  // Returns once the guest has done so many reads more, and as many writes, beside jobs at work, or
  // can do no more of them: it is over, or no job is at work.
  void CoAwaitGuest(uint64_t requests) MILLRACE_MAY_SUSPEND;

  // FailedPrecondition names the first demand that was not met.
  absl::Status Verdict(const Demands& demands) const;
  uint64_t reads() const { return reads_; }
  uint64_t writes() const { return writes_; }

 private:
  struct FilterStory {
    bool is_in = false;
    bool met_jobs = false;  // as it went in
    bool is_out = false;
  };

  void OnCopyJob(const std::string& name, JobState state);
  absl::Status JudgeGatherings(const std::set<std::string>& wanted) const;
  absl::Status JudgeFilter(const std::string& name) const;
  absl::Status Refusal(std::string_view reason) const;

  const std::string chain_;
  std::set<std::string> at_work_;
  std::vector<std::set<std::string>> gatherings_;  // at_work_ each time that a job joined it
  std::map<std::string, FilterStory> filters_;
  uint64_t reads_ = 0;  // beside jobs, as are the writes
  uint64_t writes_ = 0;
  bool is_guest_over_ = false;
  Condition something_happened_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_QUICKSTART_WITNESS_H_
