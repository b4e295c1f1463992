#include "millrace/graph/open_node.h"

#include <optional>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/io/node_io.h"

namespace millrace {
namespace {

// Whether somebody but `user` writes to the node.
bool HasOtherWriter(const Node& node, const Edge& user) {
  for (const Edge* edge = node.parents.front(); edge != nullptr; edge = node.parents.After(*edge)) {
    if (edge != &user && edge->permissions.used.Intersects(kWrite | kWriteUnchanged)) return true;
  }
  return false;
}

// The nodes that change together: the node and the primary and filtered children below it that are
// as it was. Going read-only stops at a file that others still write.
std::vector<Node*> TogetherWith(Node& node, bool is_read_only) {
  std::vector<Node*> nodes;
  for (Node* each = &node; each != nullptr && each->is_read_only != is_read_only;) {
    nodes.push_back(each);
    Edge* edge = each->FindChild(Role::kPrimary);
    if (edge == nullptr) edge = each->FindChild(Role::kFiltered);
    if (edge == nullptr || !edge->child->follows_parent_access) break;
    if (is_read_only && HasOtherWriter(*edge->child, *edge)) break;
    each = edge->child;
  }
  return nodes;
}

std::vector<NodeId> IdsOf(const std::vector<Node*>& nodes) {
  std::vector<NodeId> ids;
  for (const Node* node : nodes) ids.push_back(node->id);
  return ids;
}

// What a change between read-only and writable holds while it waits: its nodes cannot be dropped,
// and because its holder is attached to them, nobody else's drained section is granted there until
// this one's has ended. So two of these never meet on a node (race R08).
struct ReopenHold {
  std::vector<Attachment> attachments;
  DrainedSection drained;
};

absl::Status AttachTo(Graph& graph, const std::vector<NodeId>& ids, const HolderRef& holder,
                      std::vector<Attachment>* attachments) MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  change.OnBehalfOf(holder);
  for (NodeId id : ids) {
    AttachmentOptions options;
    options.holder = holder;
    options.purpose = "reopen";
    options.queues_requests = false;
    options.stays_at_node = true;
    attachments->push_back(change.Attach(id, std::move(options)));
  }
  return change.Commit().status();
}

// Begins what `hold` holds over these nodes. A job counts as quiet from before it is attached to
// them: somebody else's section there may have been granted, and must not be come upon awake (G7).
absl::Status CoBeginHold(Graph& graph, const std::vector<NodeId>& ids, const HolderRef& holder,
                         ReopenHold* hold) MILLRACE_MAY_SUSPEND {
  std::vector<Attachment> attachments;
  MILLRACE_RETURN_IF_ERROR(AttachTo(graph, ids, holder, &attachments));
  hold->attachments = std::move(attachments);
  MILLRACE_ASSIGN_OR_RETURN(hold->drained, DrainedSection::CoBegin(graph, ids, {holder}));
  return absl::OkStatus();
}

// Drains the node and what changes with it, and returns those, as they are once all is at rest.
// Empty: the node is as wanted already.
absl::StatusOr<std::vector<Node*>> CoHoldForReopen(Graph& graph, NodeId id, bool is_read_only,
                                                   const HolderRef& holder, ReopenHold* hold)
    MILLRACE_MAY_SUSPEND {
  GraphInternals& internals = GraphInternals::Of(graph);
  for (std::vector<NodeId> held;;) {
    Node* node = internals.Resolve(id);
    if (node == nullptr) return internals.StaleError(id);
    // Others may have edited while the drain waited.
    std::vector<Node*> nodes = TogetherWith(*node, is_read_only);
    MILLRACE_MUTANT(kR08) return nodes;
    if (nodes.empty() || IdsOf(nodes) == held) return nodes;
    hold->drained.End();
    held = IdsOf(nodes);
    Quiescable* const job = holder->quiescable;
    if (job != nullptr) job->EnterQuietWait();
    const absl::Status status = CoBeginHold(graph, held, holder, hold);
    if (job != nullptr) job->CoLeaveQuietWait();
    MILLRACE_RETURN_IF_ERROR(status);
  }
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

absl::Status CoOpenNode(Graph& graph, NodeId id) noexcept {
  Node* node = GraphInternals::Of(graph).Resolve(id);
  if (node == nullptr) return GraphInternals::Of(graph).StaleError(id);
  if (node->driver->kind() == NodeKind::kFormat && node->FindChild(Role::kPrimary) == nullptr &&
      static_cast<FormatDriver&>(*node->driver).has_primary()) {
    return absl::FailedPreconditionError(
        StrCat("cannot open '", node->name, "': there is no file below it; link one first"));
  }
  InFlightRequest request(*node);
  node->needs_close = true;
  try {
    MILLRACE_RETURN_IF_ERROR(node->driver->CoOpen(*node->context));
  } catch (...) {
    DriverThrew(*node);
  }
  node->is_open = true;
  return absl::OkStatus();
}

namespace {

absl::Status CoReopenHeld(Graph& graph, const DrainedSection& drained,
                          const std::vector<Node*>& nodes, bool is_read_only,
                          const HolderRef& holder) MILLRACE_MAY_SUSPEND {
  if (is_read_only) MILLRACE_RETURN_IF_ERROR(CoFlushOwnChanges(*nodes.front()));
  size_t prepared = 0;
  absl::Status status = CoPrepareAll(nodes, !is_read_only, &prepared);
  if (status.ok()) status = CommitReadOnly(graph, drained, IdsOf(nodes), is_read_only, holder);
  for (size_t i = 0; i < prepared; ++i) {
    Driver& driver = *nodes[nodes.size() - 1 - i]->driver;
    if (status.ok()) {
      driver.CommitReopen(!is_read_only);
      // Somebody else may have written the image while it was only read here.
      ++nodes[nodes.size() - 1 - i]->mapping_revision;
    } else {
      driver.CoAbortReopen(!is_read_only);
    }
  }
  return status;
}

}  // namespace

absl::Status CoSetReadOnly(Graph& graph, NodeId id, bool is_read_only, const HolderRef& holder) {
  std::vector<NodeId> dropped;
  absl::Status status;
  {
    ReopenHold hold;
    absl::StatusOr<std::vector<Node*>> nodes =
        CoHoldForReopen(graph, id, is_read_only, holder, &hold);
    status = nodes.status();
    if (status.ok() && !nodes->empty()) {
      status = CoReopenHeld(graph, hold.drained, *nodes, is_read_only, holder);
    }
    hold.drained.End();
    for (Attachment& attachment : hold.attachments) {
      const absl::StatusOr<std::vector<NodeId>> gone = attachment.Detach();
      MILLRACE_CHECK(gone.ok(), StrCat("G4: a lease hangs on a node that is only being reopened: ",
                                       gone.status().ToString()));
      dropped.insert(dropped.end(), gone->begin(), gone->end());
    }
  }
  graph.CoWaitForClosed(dropped);
  return status;
}

namespace {

// Of a node that is only staged, or gone, which the transaction refuses.
void StageNewReadOnly(GraphTransaction& change, NodeId id, bool is_read_only) {
  const absl::StatusOr<NodeView> node = change.Resolve(id);
  change.SetReadOnly(id, is_read_only);
  if (!node.ok()) return;
  const std::optional<NodeView> below =
      node->Child(node->is_filter() ? Role::kFiltered : Role::kPrimary);
  if (below && below->is_read_only() != is_read_only) {
    StageReadOnly(change, below->id(), is_read_only);
  }
}

}  // namespace

void StageReadOnly(GraphTransaction& change, NodeId id, bool is_read_only) {
  Node* const node = GraphInternals::Of(change.graph()).Resolve(id);
  if (node == nullptr) return StageNewReadOnly(change, id, is_read_only);
  for (const NodeId each : IdsOf(TogetherWith(*node, is_read_only))) {
    change.SetReadOnly(each, is_read_only);
  }
}

namespace {

// Whether the header was written, or must not be: false if the node became read-only, by somebody
// else's hand, while this waited for its turn.
absl::StatusOr<bool> CoTryWriteHeader(Node& node, const HeaderUpdate& update,
                                      const Attachment& keep) MILLRACE_MAY_SUSPEND {
  AttachmentCore& core = *AttachmentAccess::Core(keep);
  const AttachmentUse use(core);
  InFlightRequest request;
  MILLRACE_MUTANT(kM03) request.Begin(node);  // whoever has drained it
  if (!request.is_active()) core.CoEnter(request);
  // Another edit may have come meanwhile; then its own header update is on its way.
  if (node.backing_revision != update.revision) return true;
  if (node.is_read_only) return false;
  absl::Status status =
      static_cast<FormatDriver&>(*node.driver).CoWriteBackingReference(*node.wanted_reference);
  // From here on the driver says what the header says, whether that could be written or not.
  if (node.backing_revision == update.revision) node.wanted_reference.reset();
  MILLRACE_RETURN_IF_ERROR(status);
  return true;
}

absl::Status CoWriteHeaderLocked(Graph& graph, Node& node, const HeaderUpdate& update,
                                 const Attachment& keep) MILLRACE_MAY_SUSPEND {
  for (;;) {
    if (node.backing_revision != update.revision) return absl::OkStatus();
    const bool was_read_only = node.is_read_only;
    if (was_read_only) {
      InFlightRequest early;
      MILLRACE_MUTANT(kR46) early.Begin(node);  // held over the wait for a drain
      MILLRACE_RETURN_IF_ERROR(CoSetReadOnly(graph, node.id, false, keep.holder()));
    }
    const absl::StatusOr<bool> written = CoTryWriteHeader(node, update, keep);
    // A job that filled the overlay has ended meanwhile and made it read-only again.
    if (written.ok() && !*written) continue;
    absl::Status status = written.status();
    if (was_read_only) {
      const absl::Status back = CoSetReadOnly(graph, node.id, true, keep.holder());
      // Somebody may have begun to write it while it was writable: a job that fills it. Then it
      // stays writable, and the header is in place all the same.
      std::optional<Conflict> conflict = ConflictOf(back);
      MILLRACE_MUTANT(kM05) conflict.reset();
      if (!conflict || conflict->reason != ConflictReason::kReadOnly) status.Update(back);
    }
    return status;
  }
}

// Writes one header. It is a request like a guest's: if somebody drains the overlay, it waits. The
// job itself has no part in it but to wait for its end.
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
  if (headers.empty()) return absl::OkStatus();
  // The writes wait for drains of others, for each other's turns and for drains of their own. Were
  // the job, which may still be attached there, awake all the while, those drains would wait for it
  // and it for them.
  Quiescable* const job = holder->quiescable;
  if (job != nullptr) job->EnterQuietWait();
  absl::Status first_error;
  for (const HeaderUpdate& update : headers) {
    absl::Status status = CoWriteHeader(graph, update, holder);
    if (first_error.ok()) first_error = std::move(status);
  }
  if (job != nullptr) job->CoLeaveQuietWait();
  return first_error;
}

}  // namespace millrace
