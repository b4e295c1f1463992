// StartRehearsal: whether the edits that a job's start makes, one after another, would be refused;
// nothing is changed.
//
// A start suspends between its edits, and each of them may be refused by itself, in words of its
// own. So each is rehearsed by itself, together with all before it, to which nobody objects. What
// is staged is the start's own: by the same functions, so that the two cannot come to differ.
//
//   StartRehearsal rehearsal(graph, proofs);
//   MILLRACE_RETURN_IF_ERROR(rehearsal.Then([&](GraphTransaction& change) {
//     filter = StageFilterBeside(change, MakeCommitFilter(), name, top, edge(), &keeper);
//     return absl::OkStatus();
//   }));
//
// What only the host can tell is not found out: whether a file can be opened for writing. Internal;
// not installed.
#ifndef MILLRACE_JOBS_START_REHEARSAL_H_
#define MILLRACE_JOBS_START_REHEARSAL_H_

#include <functional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/jobs/block_job.h"

namespace millrace {

class StartRehearsal {
 public:
  // Both must outlive it.
  StartRehearsal(Graph& graph, BlockJobProofs& proofs) : graph_(graph), proofs_(proofs) {}

  // Stages one edit on top of those before.
  using Stage = std::function<absl::Status(GraphTransaction& change)>;

  // Rehearses the next edit. `stage` is called again for each edit after it: what it fills in is of
  // the latest call, as are the proofs' attachments.
  absl::Status Then(Stage stage) MILLRACE_OPENS_VIEW;
  // The next edit makes the node writable, if it is not.
  absl::Status ThenMakeWritable(NodeId node) MILLRACE_OPENS_VIEW;

 private:
  Graph& graph_;
  BlockJobProofs& proofs_;
  std::vector<Stage> stages_;
};

}  // namespace millrace

#endif  // MILLRACE_JOBS_START_REHEARSAL_H_
