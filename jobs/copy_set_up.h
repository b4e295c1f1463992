// What a job that copies from below a filter of its own into another node (commit, mirror) sets up
// beside its proofs, and how that is taken down again. The steps may suspend; what they have done
// so far is in the CopySetUp, whether they succeed or not, for CoTakeDown.
#ifndef MILLRACE_JOBS_COPY_SET_UP_H_
#define MILLRACE_JOBS_COPY_SET_UP_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/jobs/block_job.h"

namespace millrace {

struct CopySetUp {
  Attachment filter;  // keeps the job's filter; reads come through it
  Attachment writer;  // on the node that is copied to
  bool target_was_read_only = false;

  std::vector<Attachment*> attachments() { return {&filter, &writer}; }
};

// Reserved by the edges of a job to images that it is about to drop, or writes itself: what
// somebody else wrote there meanwhile would be lost, or would change what the guest sees.
inline constexpr Permissions kNoOtherWriters = {kNoPermissions, kAllPermissions - kWrite - kResize};

// First: the node that is copied to becomes writable.
absl::Status CoMakeTargetWritable(Graph& graph, const BlockJobProofs& proofs, NodeId target,
                                  CopySetUp* set_up) MILLRACE_MAY_SUSPEND;

// Then: the filter goes in above `top`, where the lease begins, and the lease is extended to it.
// `edge` is the job's to the filter. Before the job's other edges, because only below the filter
// does nobody ask for the consistent reads that those do not grant.
absl::Status CoPutFilterAbove(Graph& graph, BlockJobProofs& proofs,
                              std::unique_ptr<FilterDriver> filter, const std::string& name,
                              NodeId top, AttachmentOptions edge, CopySetUp* set_up)
    MILLRACE_MAY_SUSPEND;

// Stages the job's edges to what is between `above` and `below`, both exclusive. `below` must lie
// in the chain of `above`. Images there are not consistent meanwhile, so nobody may count on it;
// filters right above `below` show what it shows, and the job itself reads that. Below the image
// that `above` shows nobody else may write.
void HoldImagesBetween(GraphTransaction& change, const NodeView& above, const NodeView& below,
                       BlockJobProofs* proofs);

// Undoes all of that: the filter goes out above `top`, the target is read-only again.
void CoTakeDown(Graph& graph, BlockJobProofs& proofs, CopySetUp& set_up, NodeId top, NodeId target)
    MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_JOBS_COPY_SET_UP_H_
