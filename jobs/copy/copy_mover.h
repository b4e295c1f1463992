// CopyMover: what moving bytes means to a job; the copier decides what, when and how much.
#ifndef MILLRACE_JOBS_COPY_COPY_MOVER_H_
#define MILLRACE_JOBS_COPY_COPY_MOVER_H_

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/error_policy.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/driver.h"

namespace millrace {

// How a move has ended.
struct CopyResult {
  absl::Status status;
  IoOperation failed_operation = IoOperation::kRead;  // if status is not OK
};

class CopyMover {
 public:
  virtual ~CopyMover() = default;

  // Moves these parts of the image, ascending and disjoint. Called by several coroutines at a time,
  // never for overlapping parts. After an error any of them may have been moved.
  virtual CopyResult CoMove(absl::Span<const ChainPart> parts) MILLRACE_MAY_SUSPEND = 0;
  // What has been moved is durable afterwards.
  virtual absl::Status CoFlush() MILLRACE_MAY_SUSPEND = 0;
  // What stands on the way of the bytes, on both sides, as the graph is now.
  virtual PathTraits Path() const = 0;
  // Whether the copier goes through the image as fast as it can: not while it has a speed limit, is
  // paused or drained, or somebody must meet every single operation.
  virtual void OnPace(bool /*is_full_speed*/) {}
};

}  // namespace millrace

#endif  // MILLRACE_JOBS_COPY_COPY_MOVER_H_
