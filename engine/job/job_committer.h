// JobCommitter: how the edits of finishing jobs become one change. The jobs layer implements it
// over the graph; the job core only knows when.
#ifndef MILLRACE_ENGINE_JOB_JOB_COMMITTER_H_
#define MILLRACE_ENGINE_JOB_JOB_COMMITTER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/job_body.h"

namespace millrace {

enum class CommitOutcome : uint8_t {
  kApplied,
  // Nothing is changed: a member has so much to do in the section that it had better do more of it
  // before. All members prepare again, and then there is another try.
  kPutOff,
};

class JobCommitter {
 public:
  // Begins the drained section that the members' edits need, owned by all members together, opens
  // one transaction, calls StageEdit() of every member in order, and applies it: all or none. On an
  // error nothing is changed and every member ends with that error. The section is over when it
  // returns. Members are in the order in which they prepared, newest first; never empty. May put it
  // off, of which there must be an end.
  virtual absl::StatusOr<CommitOutcome> CoCommit(absl::Span<JobBody* const> members)
      MILLRACE_MAY_SUSPEND = 0;

 protected:
  ~JobCommitter() = default;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_JOB_COMMITTER_H_
