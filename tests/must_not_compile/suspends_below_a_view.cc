// G9 is transitive: what a function under a view calls cannot suspend either.
// expect: calling function 'CoFlushAll' requires holding permission 'kNoOpenView'
#include "millrace/graph/attachment.h"
#include "millrace/graph/graph_view.h"

absl::Status CoFlushAll(millrace::Attachment& attachment) MILLRACE_MAY_SUSPEND {
  return attachment.CoFlush();
}
absl::Status CoLook(millrace::Graph& graph, millrace::Attachment& attachment) MILLRACE_MAY_SUSPEND {
  millrace::GraphView view(graph);
  return CoFlushAll(attachment);
}
