// Opening the driver of a node, and changing whether a node may be written.
#ifndef MILLRACE_GRAPH_OPEN_NODE_H_
#define MILLRACE_GRAPH_OPEN_NODE_H_

#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/node_id.h"

namespace millrace {

// Opens the driver of a node that a transaction added, with its primary and filtered children
// already linked. On error the node is as it was; drop what holds it. Nobody else should know the
// node yet. An exception that leaves the driver ends the program here.
absl::Status CoOpenNode(Graph& graph, NodeId node) noexcept MILLRACE_MAY_SUSPEND;

// Makes a node writable or read-only, together with the primary children below it that must follow.
// Begins a drained section of its own unless the node is as wanted already. PermissionDenied
// (kReadOnly) if a file below cannot become writable; permission conflicts as of a transaction.
// `holder` is named in refusals and owns the section.
absl::Status CoSetReadOnly(Graph& graph, NodeId node, bool is_read_only, const HolderRef& holder)
    MILLRACE_MAY_SUSPEND;

// Stages the edit that this makes, of the node and of what must follow, as they are now: for a
// rehearsal. Of what drivers find when they prepare for it, that is asked which needs no opening:
// that somebody else has the image locked, but not whether the host lets the file be written.
void StageReadOnly(GraphTransaction& change, NodeId node, bool is_read_only);

// Writes the backing references of `headers` into the images, as the edit that returned them asked.
// For each overlay: only if that edit's backing is still the newest one (else the later writer does
// it); an overlay that is gone is success; a read-only overlay is made writable for the moment and
// read-only again. The first error is returned, after all have been tried; the graph stays as it
// is.
absl::Status CoSyncBackingHeaders(Graph& graph, const std::vector<HeaderUpdate>& headers,
                                  const HolderRef& holder) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_GRAPH_OPEN_NODE_H_
