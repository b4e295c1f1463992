#include "millrace/jobs/copy/zero_range.h"

#include "millrace/engine/base/status_macros.h"

namespace millrace {

absl::StatusOr<ZeroedStart> CoZeroStart(Attachment& target, ByteRange range, bool may_unmap) {
  MILLRACE_ASSIGN_OR_RETURN(const AllocationRun run,
                            target.CoAllocation(range, NodeId(), NodeId()));
  ZeroedStart start;
  start.bytes = run.bytes;
  if (run.is_allocated && !run.is_zero) {
    MILLRACE_RETURN_IF_ERROR(
        target.CoWriteZeroes(ByteRange(range.offset, run.bytes), {.may_unmap = may_unmap}));
    start.written_bytes = run.bytes;
  }
  return start;
}

}  // namespace millrace
