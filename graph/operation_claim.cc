#include "millrace/graph/operation_claim.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/proposed_graph.h"

namespace millrace {

std::string_view OperationName(Operation operation) {
  static constexpr std::string_view kNames[] = {
      "stream",  "commit source", "commit target", "mirror source", "mirror target",
      "replace", "resize",        "snapshot",      "delete",        "change"};
  static_assert(std::size(kNames) == kOperationCount);
  return kNames[static_cast<size_t>(operation)];
}

namespace {

// "cannot <this> node 'n3'": a commit asks for kCommitTarget on every image it works on.
std::string_view OperationPhrase(Operation operation) {
  static constexpr std::string_view kPhrases[] = {
      "stream on", "commit from", "use in a commit",    "mirror from", "mirror to",
      "replace",   "resize",      "make a snapshot of", "remove",      "change"};
  static_assert(std::size(kPhrases) == kOperationCount);
  return kPhrases[static_cast<size_t>(operation)];
}

}  // namespace

OperationClaim::OperationClaim(Graph& graph, NodeId node, OperationSet operations, HolderRef holder,
                               std::string as)
    : graph_(&graph), node_(node) {
  GraphInternals& internals = GraphInternals::Of(graph);
  Node* claimed = internals.Resolve(node);
  MILLRACE_CHECK(claimed != nullptr, "claimed operations on a node that is gone");
  internal::TouchHere("graph", {}, StepAccess::kWrite);
  ordinal_ = internals.next_ordinal++;
  claimed->claims.push_back({operations, std::move(holder), std::move(as), ordinal_});
}

OperationClaim::OperationClaim(OperationClaim&& other) noexcept
    : graph_(std::exchange(other.graph_, nullptr)), node_(other.node_), ordinal_(other.ordinal_) {}

OperationClaim& OperationClaim::operator=(OperationClaim&& other) noexcept {
  Release();
  graph_ = std::exchange(other.graph_, nullptr);
  node_ = other.node_;
  ordinal_ = other.ordinal_;
  return *this;
}

void OperationClaim::Release() {
  if (graph_ == nullptr) return;
  internal::TouchHere("graph", {}, StepAccess::kWrite);
  // A node that has gone took its claims with it.
  if (Node* node = GraphInternals::Of(*std::exchange(graph_, nullptr)).Resolve(node_)) {
    std::erase_if(node->claims,
                  [&](const OperationClaimRecord& claim) { return claim.ordinal == ordinal_; });
  }
}

absl::Status OperationClaim::Check(const GraphReader& reader, NodeId id, Operation operation) {
  Node* node = GraphInternals::Of(reader.graph()).Resolve(id);
  if (node == nullptr) return absl::OkStatus();
  const auto newest =
      std::find_if(node->claims.rbegin(), node->claims.rend(),
                   [&](const OperationClaimRecord& c) { return c.operations.Contains(operation); });
  MILLRACE_SOMETIMES(newest != node->claims.rend(), "claim: refused for somebody else's");
  if (newest == node->claims.rend()) return absl::OkStatus();
  Conflict conflict;
  conflict.reason = ConflictReason::kNodeBusy;
  absl::StatusOr<NodeView> view = reader.Resolve(id);
  const std::string device = view.ok() ? view->device_name() : std::string();
  conflict.object = device.empty() ? node->name : device;
  conflict.detail = std::string(OperationName(operation));
  conflict.next_step =
      StrCat("wait until ", newest->holder->Describe(), " has ended, or cancel it");
  for (auto claim = newest; claim != node->claims.rend(); ++claim) {
    if (!claim->operations.Contains(operation)) continue;
    conflict.holders.push_back(claim->holder->AsConflictHolder());
    conflict.holders.back().as = claim->as;
  }
  return ConflictStatus(
      absl::StatusCode::kFailedPrecondition, conflict,
      StrCat("cannot ", OperationPhrase(operation), " node '", node->InWords(),
             "': it is in use by ", newest->holder->Describe(), "; ", conflict.next_step));
}

}  // namespace millrace
