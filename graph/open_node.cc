#include "millrace/graph/open_node.h"

#include <utility>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/io/node_io.h"

namespace millrace {
namespace {

// The nodes that change together: the node and the primary children below it that are as it was.
std::vector<Node*> TogetherWith(Node& node, bool is_read_only) {
  std::vector<Node*> nodes;
  for (Node* each = &node; each != nullptr && each->is_read_only != is_read_only;) {
    nodes.push_back(each);
    Edge* edge = each->FindChild(Role::kPrimary);
    if (edge == nullptr) edge = each->FindChild(Role::kFiltered);
    // Going read-only stops at a file that others still write.
    each = edge == nullptr ? nullptr : edge->child;
  }
  return nodes;
}

absl::Status CoPrepareAll(const std::vector<Node*>& nodes, bool writable, size_t* prepared)
    MILLRACE_MAY_SUSPEND {
  // From the file up: a format can only become writable over a writable file.
  for (auto node = nodes.rbegin(); node != nodes.rend(); ++node) {
    InFlightRequest request(**node);
    MILLRACE_RETURN_IF_ERROR((*node)->driver->CoPrepareReopen(writable));
    ++*prepared;
  }
  return absl::OkStatus();
}

absl::Status CommitReadOnly(Graph& graph, const DrainedSection& drained,
                            const std::vector<NodeId>& ids, bool is_read_only,
                            const HolderRef& holder) MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  change.Show(drained).OnBehalfOf(holder);
  for (NodeId id : ids) change.SetReadOnly(id, is_read_only);
  return change.Commit().status();
}

}  // namespace

absl::Status CoOpenNode(Graph& graph, NodeId id) {
  Node* node = GraphInternals::Of(graph).Resolve(id);
  if (node == nullptr) return GraphInternals::Of(graph).StaleError(id);
  InFlightRequest request(*node);
  MILLRACE_RETURN_IF_ERROR(node->driver->CoOpen(*node->context));
  node->is_open = true;
  return absl::OkStatus();
}

absl::Status CoSetReadOnly(Graph& graph, NodeId id, bool is_read_only, const HolderRef& holder) {
  GraphInternals& internals = GraphInternals::Of(graph);
  Node* node = internals.Resolve(id);
  if (node == nullptr) return internals.StaleError(id);
  if (node->is_read_only == is_read_only) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained, DrainedSection::CoBegin(graph, {id}, {holder}));
  node = internals.Resolve(id);  // others may have edited while the drain waited
  if (node == nullptr) return internals.StaleError(id);
  if (is_read_only) MILLRACE_RETURN_IF_ERROR(CoFlushNode(*node));
  const std::vector<Node*> nodes = TogetherWith(*node, is_read_only);
  size_t prepared = 0;
  absl::Status status = CoPrepareAll(nodes, !is_read_only, &prepared);
  if (status.ok()) {
    std::vector<NodeId> ids;
    for (const Node* each : nodes) ids.push_back(each->id);
    status = CommitReadOnly(graph, drained, ids, is_read_only, holder);
  }
  for (size_t i = 0; i < prepared; ++i) {
    Driver& driver = *nodes[nodes.size() - 1 - i]->driver;
    if (status.ok()) {
      driver.CommitReopen(!is_read_only);
    } else {
      driver.CoAbortReopen(!is_read_only);
    }
  }
  return status;
}

namespace {

absl::Status CoWriteHeaderLocked(Graph& graph, Node& node, const HeaderUpdate& update,
                                 const Attachment& keep) MILLRACE_MAY_SUSPEND {
  if (node.backing_revision != update.revision) return absl::OkStatus();
  const bool was_read_only = node.is_read_only;
  if (was_read_only) {
    MILLRACE_RETURN_IF_ERROR(CoSetReadOnly(graph, node.id, false, keep.holder()));
  }
  absl::Status status;
  {
    InFlightRequest request;
    AttachmentAccess::Core(keep)->CoEnter(request);
    // Another edit may have come meanwhile; then its own header update is on its way.
    if (node.backing_revision == update.revision) {
      status =
          static_cast<FormatDriver&>(*node.driver).CoWriteBackingReference(*node.wanted_reference);
    }
  }
  if (was_read_only) status.Update(CoSetReadOnly(graph, node.id, true, keep.holder()));
  return status;
}

// Writes one header. It is a request like a guest's: if somebody drains the overlay, it waits.
absl::Status CoWriteHeader(Graph& graph, const HeaderUpdate& update, const HolderRef& job)
    MILLRACE_MAY_SUSPEND {
  GraphInternals& internals = GraphInternals::Of(graph);
  Node* node = internals.Resolve(update.overlay);
  if (node == nullptr || node->backing_revision != update.revision) return absl::OkStatus();
  // Keeps the node while this waits: it cannot be dropped with a user attached. The holder is not
  // the job's own: drains do not count on the job here, they queue the write.
  AttachmentOptions options;
  options.holder = MakeHolder(job->id, StrCat(job->type, "'s header update"), job->since);
  options.purpose = "backing header";
  options.stays_at_node = true;
  MILLRACE_ASSIGN_OR_RETURN(Attachment keep, Attachment::Attach(graph, update.overlay, options));
  absl::Status status;
  {
    MutexLock lock = CoHold(node->header_mutex);
    status = CoWriteHeaderLocked(graph, *node, update, keep);
  }
  keep.CoDetach();
  return status;
}

}  // namespace

absl::Status CoSyncBackingHeaders(Graph& graph, const std::vector<HeaderUpdate>& headers,
                                  const HolderRef& holder) {
  absl::Status first_error;
  for (const HeaderUpdate& update : headers) {
    absl::Status status = CoWriteHeader(graph, update, holder);
    if (first_error.ok()) first_error = std::move(status);
  }
  return first_error;
}

}  // namespace millrace
