// JobCommitter: how the edits of finishing jobs become one change. The jobs layer implements it
// over the graph; the job core only knows when.
#ifndef MILLRACE_ENGINE_JOB_JOB_COMMITTER_H_
#define MILLRACE_ENGINE_JOB_JOB_COMMITTER_H_

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/quiescable.h"
#include "millrace/engine/job/job_body.h"

namespace millrace {

class JobCommitter {
 public:
  // Begins the drained sections the members' edits need, with `owner` as their owner, opens one
  // transaction, calls StageEdit() of every member in order, and applies it: all or none. On an
  // error nothing is changed and every member ends with that error. The sections are over when it
  // returns. Members are in the order in which they prepared, newest first; never empty.
  //
  // `owner` stands for all members at once (Quiescable::StandsFor).
  virtual absl::Status CoCommit(absl::Span<JobBody* const> members, Quiescable& owner)
      MILLRACE_MAY_SUSPEND = 0;

 protected:
  ~JobCommitter() = default;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_JOB_COMMITTER_H_
