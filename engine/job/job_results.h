// JobResults: how the last jobs ended, for whoever asks after they are gone. Internal to the job
// core; clients ask JobManager::CoWaitUntilOver().
//
// Plain data of the home thread. Remembering costs the same however many there are; asking looks
// through all of them.
#ifndef MILLRACE_ENGINE_JOB_JOB_RESULTS_H_
#define MILLRACE_ENGINE_JOB_JOB_RESULTS_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/job/job_state.h"

namespace millrace {

class JobResults {
 public:
  static constexpr size_t kKept = 256;

  // `id` is empty for an internal job. Forgets the oldest result beyond kKept.
  void Remember(JobNumber number, std::string_view id, absl::Status status);
  // Null if no such job has ended, or too many have ended since. Valid until Remember().
  const absl::Status* Find(JobNumber number) const;
  // The latest job of that id.
  const absl::Status* Find(std::string_view id) const;

 private:
  struct Result {
    JobNumber number;
    std::string id;
    absl::Status status;
  };
  template <typename IsWanted>
  const absl::Status* FindLatest(IsWanted is_wanted) const;

  std::vector<Result> results_;  // a ring, once it is full
  size_t next_ = 0;              // where the next one goes: in a full ring, the oldest is there
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_JOB_RESULTS_H_
