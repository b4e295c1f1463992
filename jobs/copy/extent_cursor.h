// ExtentCursor: which layer decides what, along a chain, for somebody who goes through an image
// from its start to its end.
//
// It asks for much at once (a table's worth of the whole chain, twice as much each time where there
// was next to nothing to tell, up to what it keeps in a few megabytes) and keeps the answer until
// it is used up. What it says is a hint: a layer may have gained or lost clusters since. Whoever
// moves bytes by it hands the answer on (ChainPart), and the request that moves them looks again at
// what may have changed.
//
// Where somebody must meet every single operation, it asks step by step, as QEMU does: then loads
// of tables fail where they would. Home thread.
#ifndef MILLRACE_JOBS_COPY_EXTENT_CURSOR_H_
#define MILLRACE_JOBS_COPY_EXTENT_CURSOR_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/node_id.h"

namespace millrace {

class ExtentCursor {
 public:
  // Layers `first` to `last` as in Attachment::CoAllocation; `reader` must outlive the cursor.
  ExtentCursor(Attachment& reader, NodeId first, NodeId last)
      : reader_(reader), first_(first), last_(last) {}

  // What lies at `offset` (at least as large as in earlier calls of this function), as far as it is
  // one run, but not beyond `end`. `step_by_step`: asks about one piece of the chain only.
  absl::StatusOr<AllocationRun> CoAt(uint64_t offset, uint64_t end, bool step_by_step)
      MILLRACE_MAY_SUSPEND;
  // The same without asking anybody; nothing if it is not known. Who looks ahead does not make
  // forgotten what lies before.
  std::optional<AllocationRun> Known(uint64_t offset);
  // The chain may have changed: nothing is known any more.
  void Forget() {
    runs_.clear();
    next_ = 0;
    was_dull_ = false;
  }

 private:
  absl::Status CoAsk(uint64_t offset, uint64_t end) MILLRACE_MAY_SUSPEND;

  Attachment& reader_;
  const NodeId first_;
  const NodeId last_;
  std::vector<AllocationRun> runs_;
  size_t next_ = 0;        // in runs_
  uint64_t position_ = 0;  // where runs_[next_] starts
  uint64_t reach_ = 0;     // how much was asked for the last time
  bool was_dull_ = false;  // little was told then
};

}  // namespace millrace

#endif  // MILLRACE_JOBS_COPY_EXTENT_CURSOR_H_
