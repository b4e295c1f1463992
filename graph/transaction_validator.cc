#include "millrace/graph/transaction_validator.h"

#include <algorithm>
#include <utility>

#include "absl/container/btree_set.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/graph_internals.h"

namespace millrace {
namespace {

template <typename Element>
bool Contains(const std::vector<Element*>& elements, const Element* element) {
  return std::find(elements.begin(), elements.end(), element) != elements.end();
}

constexpr uint64_t kUnitBytes = 512;

ConflictHolder HolderOf(const Edge& edge) {
  ConflictHolder holder{edge.parent != nullptr ? edge.parent->name : "", "node", 0, {}};
  if (edge.parent == nullptr) holder = edge.attachment->options.holder->AsConflictHolder();
  holder.as = edge.name;
  return holder;
}

}  // namespace

// A filter that a job has put there is named by its job, which people know.
std::string TransactionValidator::DescribeUser(const Edge& edge) const {
  if (edge.parent == nullptr) return edge.attachment->options.holder->Describe();
  if (edge.parent->is_filter() && edge.parent->is_implicit) {
    for (const Edge* user : proposed_.ParentsOf(*edge.parent)) {
      if (user->attachment == nullptr) continue;
      const Holder& holder = *user->attachment->options.holder;
      if (holder.type.ends_with(" job")) return StrCat("the filter of ", holder.Describe());
    }
  }
  return StrCat("node '", proposed_.InWords(*edge.parent), "'");
}

absl::Status TransactionValidator::Run() {
  MILLRACE_RETURN_IF_ERROR(CheckAcyclic());
  MILLRACE_RETURN_IF_ERROR(DropOrphans());
  MILLRACE_RETURN_IF_ERROR(CheckRoles());
  MILLRACE_RETURN_IF_ERROR(CheckLeases());
  if (!plan_.is_rehearsal) MILLRACE_RETURN_IF_ERROR(CheckDrained());
  MILLRACE_RETURN_IF_ERROR(CheckOptions());
  return DerivePermissions();
}

absl::Status TransactionValidator::RehearseReopens() const {
  for (auto node = proposed_.reopened.rbegin(); node != proposed_.reopened.rend(); ++node) {
    const bool is_read_only = proposed_.IsReadOnly(**node);
    if (!(*node)->is_open || (*node)->is_read_only == is_read_only) continue;
    MILLRACE_RETURN_IF_ERROR((*node)->driver->RehearseReopen(!is_read_only));
  }
  return absl::OkStatus();
}

// ---- Structure ---------------------------------------------------------------------------------

absl::Status TransactionValidator::CheckRoles() const {
  std::vector<const Node*> changed;
  auto change = [&](const Node* node) {
    if (node == nullptr || Contains(plan_.orphans, node)) return;
    if (proposed_.Resolve(node->id) != node) return;  // gone, and being closed
    if (std::find(changed.begin(), changed.end(), node) == changed.end()) changed.push_back(node);
  };
  for (const std::unique_ptr<Node>& node : proposed_.new_nodes) change(node.get());
  for (const std::unique_ptr<Edge>& edge : proposed_.new_edges) change(edge->parent);
  for (const auto& retargeted : proposed_.retargeted) change(retargeted.first->parent);
  for (const Node* node : changed) MILLRACE_RETURN_IF_ERROR(CheckChildrenOf(*node));
  return absl::OkStatus();
}

namespace {

struct ChildCounts {
  size_t primary = 0;
  size_t backing = 0;
  size_t filtered = 0;
  size_t data = 0;
  size_t all = 0;
};

ChildCounts CountChildren(const std::vector<Edge*>& edges) {
  ChildCounts counts;
  for (const Edge* edge : edges) {
    ++counts.all;
    counts.primary += edge->role == Role::kPrimary ? 1 : 0;
    counts.backing += edge->role == Role::kBacking ? 1 : 0;
    counts.filtered += edge->role == Role::kFiltered ? 1 : 0;
    counts.data += edge->role == Role::kData ? 1 : 0;
  }
  return counts;
}

absl::Status RefuseSecondShown(const Node& node) {
  Conflict conflict;
  conflict.reason = ConflictReason::kHasBacking;
  conflict.object = node.name;
  conflict.next_step = "remove what is below it first, or replace it";
  return ConflictStatus(absl::StatusCode::kFailedPrecondition, conflict,
                        StrCat("cannot link another node below '", node.name,
                               "': it already shows one; ", conflict.next_step));
}

absl::Status RefuseShape(const Node& node, std::string_view why) {
  return absl::InvalidArgumentError(StrCat("cannot arrange the children of '", node.name,
                                           "': ", node.driver->driver_name(), " ", why));
}

}  // namespace

// G1, and what the drivers of each kind count on.
absl::Status TransactionValidator::CheckChildrenOf(const Node& node) const {
  const ChildCounts counts = CountChildren(proposed_.ChildrenOf(node));
  if (counts.filtered + counts.backing > 1) return RefuseSecondShown(node);
  switch (node.driver->kind()) {
    case NodeKind::kProtocol:
      if (counts.all == 0) return absl::OkStatus();
      // A quorum's I/O is what its children do; no mapping leads to them.
      if (node.driver->data_children_show_the_same() && counts.all == counts.data) {
        return absl::OkStatus();
      }
      return RefuseShape(node,
                         "is a protocol and has no children; link below a format or a filter");
    case NodeKind::kFilter:
      if (counts.filtered == 1 && counts.backing == 0) return absl::OkStatus();
      return RefuseShape(node, "is a filter and needs exactly one filtered child");
    case NodeKind::kFormat:
      break;
  }
  const auto& format = static_cast<const FormatDriver&>(*node.driver);
  if (counts.filtered > 0) return RefuseShape(node, "is no filter; link it as a backing");
  if (counts.backing > 0 && !format.supports_backing()) {
    return RefuseShape(node, "images have no backing; use a format that does");
  }
  if (counts.primary > 1) return RefuseShape(node, "has one primary child; replace that one");
  if (counts.primary == 0 && node.is_open && format.has_primary()) {
    return RefuseShape(node, "needs the file that its data are in; replace it instead");
  }
  return absl::OkStatus();
}

bool TransactionValidator::Reaches(const ProposedGraph& proposed, const Node& from,
                                   const Node& to) {
  // Down from `from` and up from `to`, in turns: whichever side is small ends the search.
  std::vector<const Node*> down = {&from};
  std::vector<const Node*> up = {&to};
  absl::btree_set<const Node*> seen_down = {&from};  // membership only; order does not show
  absl::btree_set<const Node*> seen_up = {&to};
  if (&from == &to) return true;
  while (!down.empty() && !up.empty()) {
    const Node* low = down.back();
    down.pop_back();
    for (const Edge* edge : proposed.ChildrenOf(*low)) {
      const Node* child = proposed.ChildOf(*edge);
      if (seen_up.contains(child)) return true;
      if (seen_down.insert(child).second) down.push_back(child);
    }
    const Node* high = up.back();
    up.pop_back();
    for (const Edge* edge : proposed.ParentsOf(*high)) {
      if (edge->parent == nullptr) continue;
      if (seen_down.contains(edge->parent)) return true;
      if (seen_up.insert(edge->parent).second) up.push_back(edge->parent);
    }
  }
  return false;
}

absl::Status TransactionValidator::CheckAcyclic() const {
  MILLRACE_MUTANT(kR82) return absl::OkStatus();  // the user has looked before
  auto check = [&](const Edge& edge, const Node* child) -> absl::Status {
    if (edge.parent == nullptr || child == nullptr) return absl::OkStatus();
    if (!Reaches(proposed_, *child, *edge.parent)) return absl::OkStatus();
    Conflict conflict;
    conflict.reason = ConflictReason::kCycle;
    conflict.object = child->name;
    conflict.detail = StrCat(edge.parent->name, " ", edge.name);
    conflict.next_step = "choose a node that is not above it";
    return ConflictStatus(
        absl::StatusCode::kInvalidArgument, conflict,
        StrCat("cannot make '", child->name, "' a ", edge.name, " child of '", edge.parent->name,
               "': it would create a cycle; ", conflict.next_step));
  };
  for (const std::unique_ptr<Edge>& edge : proposed_.new_edges) {
    MILLRACE_RETURN_IF_ERROR(check(*edge, edge->child));
  }
  for (const auto& change : proposed_.retargeted) {
    MILLRACE_RETURN_IF_ERROR(check(*change.first, change.second));
  }
  return absl::OkStatus();
}

// A node that nobody would point at goes, and with it what it shows: its filtered and backing edges
// end with the edit. Its files stay until it is closed.
absl::Status TransactionValidator::DropOrphans() {
  plan_.orphans.clear();
  std::vector<Node*> left;  // each has lost somebody who pointed at it
  for (const auto& change : proposed_.retargeted) left.push_back(change.first->child);
  for (size_t i = 0; i < proposed_.rehearsed_nodes; ++i)
    left.push_back(proposed_.new_nodes[i].get());
  for (size_t i = 0; i < left.size(); ++i) {
    Node* node = left[i];
    MILLRACE_MUTANT(kR42) {  // a root that nobody but jobs holds is closed first, the jobs later
      const std::vector<Edge*> users = proposed_.ParentsOf(*node);
      const bool is_of_jobs = std::all_of(users.begin(), users.end(), [](const Edge* user) {
        return user->attachment != nullptr && !user->attachment->options.queues_requests;
      });
      if (is_of_jobs && !Contains(plan_.orphans, node)) plan_.orphans.push_back(node);
    }
    if (Contains(plan_.orphans, node) || !proposed_.ParentsOf(*node).empty()) continue;
    plan_.orphans.push_back(node);
    for (Edge* edge : proposed_.ChildrenOf(*node)) {
      if (edge->role != Role::kBacking && edge->role != Role::kFiltered) continue;
      // It may point there by this edit only, and have held what was looked at before.
      left.push_back(proposed_.ChildOf(*edge));
      proposed_.Retarget(edge, nullptr);
    }
  }
  for (size_t i = proposed_.rehearsed_nodes; i < proposed_.new_nodes.size(); ++i) {
    const Node& node = *proposed_.new_nodes[i];
    if (proposed_.ParentsOf(node).empty()) {
      return absl::InvalidArgumentError(
          StrCat("cannot add node '", node.name, "': nothing would hold it; attach to it"));
    }
  }
  return absl::OkStatus();
}

absl::Status TransactionValidator::CheckLeases() const {
  for (const auto& change : proposed_.retargeted) {
    const Edge& edge = *change.first;
    if (edge.lease == nullptr || plan_.IsShown(*edge.lease)) continue;
    const HolderRef& holder = edge.lease->holder;
    // Whoever lets go of the last node of its own chain means the links as well.
    if (holder == plan_.requester && Contains(plan_.orphans, edge.parent)) continue;
    Conflict conflict;
    conflict.reason = ConflictReason::kFrozenLink;
    conflict.object = edge.child->name;
    conflict.detail = StrCat(edge.name, " ", edge.parent->name);
    conflict.holders.push_back(holder->AsConflictHolder());
    conflict.next_step = StrCat("wait until ", holder->Describe(), " has ended, or cancel it");
    return ConflictStatus(absl::StatusCode::kFailedPrecondition, conflict,
                          StrCat("cannot change the frozen '", edge.name, "' link from '",
                                 edge.parent->name, "' to '", edge.child->name,
                                 "': ", holder->Describe(), " holds it; ", conflict.next_step));
  }
  for (const auto& extension : plan_.extensions) {
    const Edge* edge = proposed_.FindChild(*extension.filter, Role::kFiltered);
    if (edge != nullptr && edge->lease == nullptr &&
        proposed_.ChildOf(*edge)->id == extension.lease->top) {
      continue;
    }
    return absl::InvalidArgumentError(
        StrCat("cannot extend the lease of ", extension.lease->holder->Describe(), " to '",
               extension.filter->name, "': it is not a filter directly above the leased chain"));
  }
  return absl::OkStatus();
}

bool TransactionValidator::IsCovered(const Node& node) const {
  return std::any_of(node.sections.begin(), node.sections.end(), [&](const SectionCore* section) {
    return section->is_granted && plan_.IsShown(*section);
  });
}

// Whether nobody but the requester can reach the node: no traffic needs to be stopped for an edit.
bool TransactionValidator::IsFresh(const Node& node) const {
  node.graph.engine().scheduler().Count(Counter::kNodesVisited);
  if (!node.requests.empty()) return false;
  for (const Edge* edge = node.parents.front(); edge != nullptr; edge = node.parents.After(*edge)) {
    if (edge->parent != nullptr) {
      if (!IsFresh(*edge->parent)) return false;
    } else if (plan_.requester == nullptr || edge->attachment->options.holder != plan_.requester) {
      return false;
    }
  }
  return true;
}

absl::Status TransactionValidator::RefuseUndrained(const Node& node, std::string_view what,
                                                   std::string_view detail) const {
  Conflict conflict;
  conflict.reason = ConflictReason::kNotDrained;
  conflict.object = node.name;
  conflict.detail = std::string(detail);
  conflict.next_step = "begin a drained section on it and show it to the transaction";
  return ConflictStatus(absl::StatusCode::kFailedPrecondition, conflict,
                        StrCat("cannot change the ", what, " of '", node.name,
                               "': the node is not drained; ", conflict.next_step));
}

absl::Status TransactionValidator::RefuseUndrained(const Edge& edge) const {
  return RefuseUndrained(*edge.parent, StrCat("'", edge.name, "' link"), edge.name);
}

absl::Status TransactionValidator::RefuseBusy(const AttachmentCore& attachment) {
  const HolderRef& holder = attachment.options.holder;
  Conflict conflict;
  conflict.reason = ConflictReason::kNodeInUse;
  conflict.object = attachment.edge.child->name;
  conflict.holders.push_back(holder->AsConflictHolder());
  conflict.next_step = "wait until its requests have ended";
  return ConflictStatus(absl::StatusCode::kFailedPrecondition, conflict,
                        StrCat("cannot detach ", holder->Describe(), " from '", conflict.object,
                               "': ", attachment.uses, " of its requests are in flight or queued; ",
                               conflict.next_step));
}

absl::Status TransactionValidator::CheckDrained() const {
  for (const auto& change : proposed_.retargeted) {
    const Edge& edge = *change.first;
    MILLRACE_MUTANT(kR19) {  // its new place is drained, and nobody waits for what it has begun
      if (edge.parent == nullptr && change.second != nullptr) continue;
    }
    if (edge.parent != nullptr) {
      if (!edge.parent->requests.empty()) return RefuseUndrained(edge);
      // Nobody can reach a node that goes, so nothing needs to be kept away from it.
      if (Contains(plan_.orphans, edge.parent)) continue;
      if (!IsCovered(*edge.parent) && !IsFresh(*edge.parent)) return RefuseUndrained(edge);
    } else if (change.second == nullptr && edge.attachment->uses > 0) {
      return RefuseBusy(*edge.attachment);
    } else if (change.second != nullptr && !edge.child->requests.empty()) {
      Conflict conflict;
      conflict.reason = ConflictReason::kNotDrained;
      conflict.object = edge.child->name;
      conflict.next_step = "begin a drained section on it and show it to the transaction";
      return ConflictStatus(
          absl::StatusCode::kFailedPrecondition, conflict,
          StrCat("cannot move ", DescribeUser(edge), " away from '", edge.child->name,
                 "': requests are in flight; ", conflict.next_step));
    }
  }
  for (const std::unique_ptr<Edge>& edge : proposed_.new_edges) {
    if (edge->child == nullptr || proposed_.IsPlanned(*edge->parent)) continue;
    if (!edge->parent->requests.empty()) return RefuseUndrained(*edge);
    if (!IsCovered(*edge->parent) && !IsFresh(*edge->parent)) return RefuseUndrained(*edge);
  }
  for (const auto& [node, change] : proposed_.options) {
    MILLRACE_MUTANT(kM17) continue;  // options are only read
    if (Contains(plan_.orphans, node)) continue;
    const bool is_quiet = node->requests.empty() && (IsCovered(*node) || IsFresh(*node));
    if (!is_quiet) return RefuseUndrained(*node, "options", "options");
  }
  for (const Node* orphan : plan_.orphans) {
    if (orphan->requests.empty()) continue;
    Conflict conflict;
    conflict.reason = ConflictReason::kNodeInUse;
    conflict.object = orphan->name;
    conflict.next_step = "drain it first";
    return ConflictStatus(absl::StatusCode::kFailedPrecondition, conflict,
                          StrCat("cannot drop node '", orphan->name, "': ", orphan->requests.size(),
                                 " requests are in flight; ", conflict.next_step));
  }
  return absl::OkStatus();
}

// Of a child that changes with the node, what counts is its length until then.
absl::Status TransactionValidator::CheckOptions() const {
  for (const auto& [node, change] : proposed_.options) {
    if (change.fresh == nullptr || Contains(plan_.orphans, node)) continue;
    const Edge* const primary = proposed_.FindChild(*node, Role::kPrimary);
    const Node* const child = primary == nullptr ? nullptr : proposed_.ChildOf(*primary);
    MILLRACE_RETURN_IF_ERROR(
        node->driver->CheckOptionsOf(*change.fresh, child == nullptr ? 0 : child->driver->bytes()));
  }
  return absl::OkStatus();
}

// ---- Permissions -------------------------------------------------------------------------------

ProposedGraph::Demands TransactionValidator::CumulativeOf(const Node& node) const {
  ProposedGraph::Demands all;
  for (const Edge* edge : proposed_.ParentsOf(node)) {
    const ProposedGraph::Demands each = proposed_.DemandsOf(*edge);
    all.now = Union(all.now, each.now);
    all.reserved = Union(all.reserved, each.reserved);
  }
  return all;
}

ProposedGraph::Demands TransactionValidator::DemandsOn(const Edge& edge) const {
  const Node& node = *edge.parent;
  const ProposedGraph::Demands parents = CumulativeOf(node);
  PermissionContext context;
  context.role = edge.role;
  context.node_is_read_only = proposed_.IsReadOnly(node);
  context.node_has_parents = !proposed_.ParentsOf(node).empty();
  ProposedGraph::Demands derived;
  context.parents = parents.now;
  const Driver& driver = proposed_.DriverOf(node);
  derived.now = driver.DerivePermissions(context);
  context.parents = parents.reserved;
  derived.reserved = driver.DeriveReserved(context);
  if (proposed_.IoOf(node).shares_by_force) {
    derived.now.shared = derived.reserved.shared = kAllPermissions;
  }
  return derived;
}

// Follows changes from the touched nodes down, to wherever they stop to matter. The graph has no
// cycle, so this ends.
absl::Status TransactionValidator::DerivePermissions() {
  MILLRACE_MUTANT(kR75) MutantYield();  // a node's answer takes I/O
  std::deque<Node*> work;
  auto touch = [&](Node* node) {
    if (node == nullptr) return;
    if (!Contains(touched_, node)) touched_.push_back(node);
    work.push_back(node);
  };
  for (const auto& change : proposed_.retargeted) {
    touch(change.first->child);
    MILLRACE_MUTANT(kR59) continue;  // what the new place grants stays as it was saved
    touch(change.second);
  }
  for (const std::unique_ptr<Edge>& edge : proposed_.new_edges) {
    touch(edge->parent);
    touch(edge->child);
  }
  for (const Edge* edge : proposed_.new_root_edges) touch(edge->child);
  for (const auto& entry : proposed_.read_only) touch(entry.first);
  // What its users ask and share stays as it is.
  for (const auto& entry : proposed_.options) work.push_back(entry.first);
  std::vector<Node*> changed_roots;
  for (const auto& entry : proposed_.demands) {
    changed_roots.push_back(proposed_.ChildOf(*entry.first));
  }
  for (Node* node : changed_roots) touch(node);

  while (!work.empty()) {
    Node* node = work.front();
    work.pop_front();
    if (Contains(plan_.orphans, node)) continue;
    for (Edge* edge : proposed_.ChildrenOf(*node)) {
      const ProposedGraph::Demands derived = DemandsOn(*edge);
      if (derived == proposed_.DemandsOf(*edge)) continue;
      proposed_.SetDemands(edge, derived);
      touch(proposed_.ChildOf(*edge));
    }
  }
  for (Node* node : touched_) {
    if (Contains(plan_.orphans, node)) continue;
    MILLRACE_RETURN_IF_ERROR(CheckPermissions(*node));
    MILLRACE_RETURN_IF_ERROR(ReserveInDriver(*node));
  }
  // Who is in the way now is told before who will be.
  for (Node* node : touched_) {
    if (Contains(plan_.orphans, node)) continue;
    MILLRACE_RETURN_IF_ERROR(CheckConflicts(*node, &ProposedGraph::Demands::reserved));
  }
  return absl::OkStatus();
}

absl::Status TransactionValidator::CheckPermissions(Node& node) {
  const PermissionSet used = CumulativeOf(node).now.used;
  // Two users in each other's way are told before one that nobody could satisfy, as in QEMU.
  MILLRACE_RETURN_IF_ERROR(CheckConflicts(node, &ProposedGraph::Demands::now));
  if (!used.Intersects(kWrite | kWriteUnchanged)) return absl::OkStatus();
  Conflict conflict;
  conflict.object = node.name;
  for (const Edge* edge : proposed_.ParentsOf(node)) {
    if (proposed_.PermissionsOf(*edge).used.Intersects(kWrite | kWriteUnchanged)) {
      conflict.holders.push_back(HolderOf(*edge));
    }
  }
  if (proposed_.IsReadOnly(node)) {
    conflict.reason = ConflictReason::kReadOnly;
    conflict.next_step = "make the node writable first, or open it writable";
    return RefusalStatus(
        absl::StatusCode::kPermissionDenied, conflict,
        StrCat("cannot write to node '", proposed_.InWords(node), "': it is read-only"));
  }
  // As QEMU counts: in sectors.
  const uint64_t alignment = proposed_.DriverOf(node).request_alignment();
  if (used.Contains(kResize) || alignment <= 1) return absl::OkStatus();
  if (IsAligned(AlignUp(node.driver->bytes(), kUnitBytes), alignment)) return absl::OkStatus();
  conflict.reason = ConflictReason::kUnalignedSize;
  conflict.detail = StrCat(alignment);
  conflict.next_step = "resize it to a multiple of that, or write to what is below it";
  return RefusalStatus(absl::StatusCode::kPermissionDenied, conflict,
                       StrCat("cannot write to node '", proposed_.InWords(node),
                              "' without the permission to resize it: its ", node.driver->bytes(),
                              " bytes are no multiple of ", alignment));
}

namespace {

void AppendJob(const Holder& holder, std::string_view as, std::vector<ConflictHolder>* holders) {
  if (!holder.type.ends_with(" job")) return;
  const bool is_told = std::any_of(holders->begin(), holders->end(), [&](const auto& told) {
    return told.id == holder.id && told.type == holder.type;
  });
  if (is_told) return;
  holders->push_back(holder.AsConflictHolder());
  holders->back().as = std::string(as);
}

}  // namespace

// A parent node is in the way because of who stands on it: the jobs among them, further up too,
// that use any of `cause.used` or do not share all of `cause.shared`, and whose filter it is.
void TransactionValidator::AppendJobsBehind(const Edge& edge, const Permissions& cause,
                                            WhichDemands which,
                                            std::vector<ConflictHolder>* holders) const {
  std::vector<const Node*> above;
  auto enter = [&above](const Node* node) {
    const bool is_new = std::find(above.begin(), above.end(), node) == above.end();
    if (node != nullptr && is_new) above.push_back(node);
  };
  enter(edge.parent);
  for (size_t i = 0; i < above.size(); ++i) {
    if (above[i]->is_filter()) {
      for (const OperationClaimRecord& claim : above[i]->claims) {
        AppendJob(*claim.holder, "filter", holders);
      }
    }
    for (const Edge* user : proposed_.ParentsOf(*above[i])) {
      const Permissions demands = proposed_.DemandsOf(*user).*which;
      const bool is_cause =
          demands.used.Intersects(cause.used) || !(cause.shared - demands.shared).empty();
      if (!is_cause) continue;
      enter(user->parent);
      if (user->attachment != nullptr) {
        AppendJob(*user->attachment->options.holder, user->name, holders);
      }
    }
  }
}

absl::Status TransactionValidator::CheckConflicts(const Node& node, WhichDemands which) const {
  const std::vector<Edge*> edges = proposed_.ParentsOf(node);
  const Permissions all = CumulativeOf(node).*which;
  // A bit that all share cannot conflict.
  const PermissionSet suspects = all.used - all.shared;
  if (suspects.empty()) return absl::OkStatus();
  for (const Edge* user : edges) {
    const PermissionSet used = (proposed_.DemandsOf(*user).*which).used & suspects;
    if (used.empty()) continue;
    for (const Edge* other : edges) {
      const PermissionSet refused = used - (proposed_.DemandsOf(*other).*which).shared;
      if (user == other || refused.empty()) continue;
      Conflict conflict;
      conflict.reason = ConflictReason::kPermission;
      conflict.object = node.name;
      conflict.detail = refused.ToString();
      conflict.holders = {HolderOf(*user), HolderOf(*other)};
      AppendJobsBehind(*user, {refused, {}}, which, &conflict.holders);
      AppendJobsBehind(*other, {{}, refused}, which, &conflict.holders);
      conflict.next_step = "end one of the two uses first";
      return ConflictStatus(
          absl::StatusCode::kFailedPrecondition, conflict,
          StrCat("permission conflict on node '", proposed_.InWords(node), "': '",
                 refused.ToString(), "' is required by ", DescribeUser(*user), " (uses it as '",
                 user->name, "') and unshared by ", DescribeUser(*other), " (uses it as '",
                 other->name, "'); ", conflict.next_step));
    }
  }
  return absl::OkStatus();
}

absl::Status TransactionValidator::ReserveInDriver(Node& node) {
  if (node.driver->kind() != NodeKind::kProtocol) return absl::OkStatus();
  auto& driver = static_cast<ProtocolDriver&>(*node.driver);
  // What is reserved among us is so among all programs.
  const ProposedGraph::Demands demands = CumulativeOf(node);
  const Permissions both = Union(demands.now, demands.reserved);
  if (plan_.is_rehearsal) return driver.RehearsePermissions(both);
  MILLRACE_RETURN_IF_ERROR(driver.PreparePermissions(both));
  plan_.reserved.push_back(&node);
  return absl::OkStatus();
}

void TransactionValidator::DropReservations(GraphTransaction::Plan& plan) {
  for (Node* node : plan.reserved) static_cast<ProtocolDriver&>(*node->driver).AbortPermissions();
  plan.reserved.clear();
}

void TransactionValidator::KeepReservations(GraphTransaction::Plan& plan) {
  for (Node* node : plan.reserved) static_cast<ProtocolDriver&>(*node->driver).CommitPermissions();
  plan.reserved.clear();
}

}  // namespace millrace
