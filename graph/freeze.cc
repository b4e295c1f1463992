#include "millrace/graph/freeze.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/freeze_core.h"
#include "millrace/graph/graph_internals.h"

namespace millrace {
namespace {

// Whose filter it is. A commit's is not claimed, so that a stream across it is refused for the
// link; but a job is attached to its filter.
std::optional<ConflictHolder> OwnerOfFilter(const Node& filter) {
  if (!filter.claims.empty()) return filter.claims.back().holder->AsConflictHolder();
  for (const Edge* user = filter.parents.front(); user != nullptr;
       user = filter.parents.After(*user)) {
    if (user->attachment == nullptr) continue;
    const Holder& holder = *user->attachment->options.holder;
    if (holder.type.ends_with(" job")) return holder.AsConflictHolder();
  }
  return std::nullopt;
}

absl::Status RefuseUnleasable(const Edge& edge) {
  Conflict conflict;
  conflict.reason = ConflictReason::kUnleasableFilter;
  conflict.object = edge.child->name;
  conflict.detail = edge.name;
  if (const std::optional<ConflictHolder> owner = OwnerOfFilter(*edge.child)) {
    conflict.holders.push_back(*owner);
  }
  conflict.next_step = "name a base or bottom above that filter, or wait until its job has ended";
  return ConflictStatus(
      absl::StatusCode::kFailedPrecondition, conflict,
      StrCat("cannot freeze the '", edge.name, "' link to '", edge.child->name,
             "': the job that owns this filter must be able to remove it; ", conflict.next_step));
}

absl::Status RefuseFrozen(const Edge& edge) {
  const HolderRef& holder = edge.lease->holder;
  Conflict conflict;
  conflict.reason = ConflictReason::kFrozenLink;
  conflict.object = edge.child->name;
  conflict.detail = StrCat(edge.name, " ", edge.parent->name);
  conflict.holders.push_back(holder->AsConflictHolder());
  conflict.next_step = StrCat("wait until ", holder->Describe(), " has ended, or cancel it");
  return ConflictStatus(
      absl::StatusCode::kFailedPrecondition, conflict,
      StrCat("the '", edge.name, "' link from '", edge.parent->name, "' to '", edge.child->name,
             "' must stay as it is: ", holder->Describe(), " holds it; ", conflict.next_step));
}

}  // namespace

FrozenChainCore::~FrozenChainCore() {
  internal::TouchHere("graph", {}, StepAccess::kWrite);  // who looks next finds it otherwise
  for (Edge* edge : edges) edge->lease = nullptr;
}

void FrozenChainCore::Drop(Edge& edge, bool parent_goes) {
  edge.lease = nullptr;
  was_edited = true;
  if (parent_goes && edge.parent->id == top && top != last) top = edge.child->id;
  std::erase(edges, &edge);
}

absl::StatusOr<FrozenChain> FrozenChain::Freeze(const GraphReader& reader, NodeId top, NodeId last,
                                                HolderRef holder) {
  MILLRACE_CHECK(reader.proposed_ == nullptr, "a lease is taken on the graph as it is");
  const GraphInternals& internals = GraphInternals::Of(reader.graph());
  Node* node = internals.Resolve(top);
  if (node == nullptr) return internals.StaleError(top);
  if (internals.Resolve(last) == nullptr) return internals.StaleError(last);
  std::vector<Edge*> edges;
  Scheduler& scheduler = reader.graph().engine().scheduler();
  while (node->id != last) {
    scheduler.Count(Counter::kNodesVisited);
    Edge* edge = node->FilteredOrBacking();
    if (edge == nullptr) {
      return absl::NotFoundError(StrCat("cannot freeze the chain below '",
                                        internals.Resolve(top)->name, "': node '",
                                        internals.Resolve(last)->name, "' is not in it"));
    }
    MILLRACE_SOMETIMES(edge->lease != nullptr, "freeze: refused for somebody else's lease");
    if (edge->lease != nullptr) return RefuseFrozen(*edge);
    Node* child = edge->child;
    MILLRACE_MUTANT(kR06b) {  // a walk along backing links alone
      if (edge->role == Role::kFiltered) {
        node = child;
        continue;
      }
    }
    if (child->is_filter() && static_cast<FilterDriver&>(*child->driver).is_unleasable()) {
      MILLRACE_SOMETIMES(true, "freeze: refused for a filter that must be removable");
      return RefuseUnleasable(*edge);
    }
    edges.push_back(edge);
    node = child;
  }
  internal::TouchHere("graph", {}, StepAccess::kWrite);
  scheduler.Count(Counter::kLeases);
  auto core = std::make_unique<FrozenChainCore>();
  core->holder = std::move(holder);
  core->top = top;
  core->last = last;
  core->edges = std::move(edges);
  for (Edge* edge : core->edges) edge->lease = core.get();
  return FrozenChain(std::move(core));
}

FrozenChain::FrozenChain() = default;
FrozenChain::FrozenChain(std::unique_ptr<FrozenChainCore> core) : core_(std::move(core)) {}
FrozenChain::~FrozenChain() = default;
FrozenChain::FrozenChain(FrozenChain&& other) noexcept = default;
FrozenChain& FrozenChain::operator=(FrozenChain&& other) noexcept = default;

void FrozenChain::Release() {
  MILLRACE_MUTANT(kR06a) {  // one link fewer than was frozen
    if (core_ != nullptr && core_->edges.size() > 1) {
      for (size_t i = 0; i + 1 < core_->edges.size(); ++i) core_->edges[i]->lease = nullptr;
      core_->edges.erase(core_->edges.begin(), core_->edges.end() - 1);
      static_cast<void>(core_.release());
    }
  }
  core_.reset();
}
NodeId FrozenChain::top() const { return core_->top; }
NodeId FrozenChain::last() const { return core_->last; }
const HolderRef& FrozenChain::holder() const { return core_->holder; }

std::optional<NodeId> FrozenChain::Below(const GraphReader& reader) const {
  absl::StatusOr<NodeView> last = reader.Resolve(core_->last);
  if (!last.ok()) return std::nullopt;
  std::optional<NodeView> below = last->FilteredOrBacking();
  if (!below) return std::nullopt;
  return below->id();
}

}  // namespace millrace
