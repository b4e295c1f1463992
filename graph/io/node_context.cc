#include "millrace/graph/io/node_context.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/io/chain_parts.h"
#include "millrace/graph/io/node_io.h"

namespace millrace {

Engine& NodeContext::engine() const { return node_.graph.engine(); }

Edge* NodeContext::FindEdge(ChildKey child) const {
  if (child.index == 0) return node_.FindChild(child.role);
  size_t before = 0;
  for (const std::unique_ptr<Edge>& edge : node_.children) {
    if (edge->role == child.role && before++ == child.index) return edge.get();
  }
  return nullptr;
}

absl::StatusOr<Node*> NodeContext::Child(ChildKey child) const {
  Edge* edge = FindEdge(child);
  MILLRACE_MUTANT(kR80) {  // the driver's own pointer, taken when it was first needed
    if (edge != nullptr && child.role == Role::kFiltered) {
      NodeId& first = MutantNote<NodeId>(uint64_t{node_.id.generation} << 32 | node_.id.slot);
      if (!first.is_valid()) first = edge->child->id;
      if (Node* known = GraphInternals::Of(node_.graph).Resolve(first)) return known;
      return GraphInternals::Of(node_.graph).StaleError(first);
    }
  }
  if (edge != nullptr) return edge->child;
  return absl::FailedPreconditionError(StrCat("node '", node_.name, "' has no ",
                                              RoleName(child.role), " child number ", child.index));
}

namespace {

bool IsOpenOf(const Node& node, const FileIdentity& file) {
  if (!node.is_open || node.driver->kind() != NodeKind::kProtocol) return false;
  return static_cast<const ProtocolDriver&>(*node.driver).identity() == file;
}

bool IsUsedAgainst(const Node& node, const Permissions& need) {
  for (const Edge* edge = node.parents.front(); edge != nullptr; edge = node.parents.After(*edge)) {
    const Permissions& has = edge->permissions;
    if (has.used.Intersects(kAllPermissions - need.shared)) return true;
    if (need.used.Intersects(kAllPermissions - has.shared)) return true;
  }
  return false;
}

// The image that people know, where the file below it was given no name.
const Node& KnownAs(const Node& file) {
  if (!file.name.starts_with('#') || file.parents.empty()) return file;
  const Edge* only = file.parents.front();
  const bool has_others = file.parents.After(*only) != nullptr;
  return has_others || only->parent == nullptr ? file : *only->parent;
}

// The node, and who is attached to it or stands on it.
void AppendNodeAndUsers(const Node& node, bool is_closing, std::vector<ConflictHolder>* holders) {
  holders->push_back({.id = node.name, .type = "node", .as = is_closing ? "closing" : ""});
  for (const Edge* edge = node.parents.front(); edge != nullptr; edge = node.parents.After(*edge)) {
    ConflictHolder user{.type = "node", .as = edge->name};
    if (edge->attachment != nullptr) {
      user = edge->attachment->options.holder->AsConflictHolder();
    } else {
      user.id = edge->parent->name;
    }
    const auto known = std::find(holders->begin(), holders->end(), user);
    if (known == holders->end()) holders->push_back(std::move(user));
  }
}

}  // namespace

std::vector<ConflictHolder> NodeContext::OthersWithFile(const FileIdentity& file,
                                                        const Permissions& need) const {
  std::vector<ConflictHolder> holders;
  const GraphInternals& internals = GraphInternals::Of(node_.graph);
  for (const Node* node = internals.nodes.front(); node != nullptr;
       node = internals.nodes.After(*node)) {
    if (node == &node_ || !IsOpenOf(*node, file) || !IsUsedAgainst(*node, need)) continue;
    const Node& known = KnownAs(*node);
    AppendNodeAndUsers(known, internals.IsDropped(known), &holders);
  }
  for (const auto& [id, node] : internals.closing) {
    if (node == nullptr || !IsOpenOf(*node, file)) continue;
    holders.push_back({.id = node->name, .type = "node", .as = "closing"});
  }
  return holders;
}

bool NodeContext::CoWaitWhileLettingGoOf(const FileIdentity& file) {
  return GraphInternals::Of(node_.graph).CoWaitWhileLettingGoOf(file);
}

std::string NodeContext::ChildName(ChildKey child) const {
  Edge* edge = FindEdge(child);
  return edge == nullptr ? std::string() : edge->child->name;
}

uint64_t NodeContext::ChildBytes(ChildKey child) const {
  Edge* edge = FindEdge(child);
  return edge == nullptr ? 0 : edge->child->driver->bytes();
}

bool NodeContext::IsChildWindow(ChildKey child) const {
  const Edge* edge = FindEdge(child);
  while (edge != nullptr) {
    const Node& node = *edge->child;
    if (node.driver->is_window()) return true;
    edge = nullptr;
    if (node.is_filter()) edge = node.FindChild(Role::kFiltered);
    if (node.driver->offset_in_primary().has_value()) edge = node.FindChild(Role::kPrimary);
  }
  return false;
}

absl::Status NodeContext::CoReadChild(ChildKey child, uint64_t offset, const IoVector& target) {
  MILLRACE_ASSIGN_OR_RETURN(Node * node, Child(child));
  return CoReadNode(*node, offset, target);
}
absl::Status NodeContext::CoWriteChild(ChildKey child, uint64_t offset, const IoVector& source,
                                       WriteFlags flags) {
  MILLRACE_ASSIGN_OR_RETURN(Node * node, Child(child));
  return CoWriteNode(*node, offset, source, flags);
}
absl::Status NodeContext::CoWriteZeroesChild(ChildKey child, ByteRange range, ZeroFlags flags) {
  MILLRACE_ASSIGN_OR_RETURN(Node * node, Child(child));
  return CoWriteZeroesNode(*node, range, flags);
}
absl::Status NodeContext::CoDiscardChild(ChildKey child, ByteRange range) {
  MILLRACE_ASSIGN_OR_RETURN(Node * node, Child(child));
  return CoDiscardNode(*node, range);
}
absl::Status NodeContext::CoFlushChild(ChildKey child) {
  MILLRACE_ASSIGN_OR_RETURN(Node * node, Child(child));
  return CoFlushNode(*node);
}
absl::Status NodeContext::CoResizeChild(ChildKey child, uint64_t bytes) {
  MILLRACE_ASSIGN_OR_RETURN(Node * node, Child(child));
  return CoResizeNode(*node, bytes);
}
absl::Status NodeContext::CoReserveInChild(ChildKey child, ByteRange range) {
  MILLRACE_ASSIGN_OR_RETURN(Node * node, Child(child));
  return CoReserveInNode(*node, range);
}
absl::StatusOr<Extent> NodeContext::CoMapChild(ChildKey child, ByteRange range) {
  MILLRACE_ASSIGN_OR_RETURN(Node * node, Child(child));
  return CoMapNode(*node, range);
}

absl::Status NodeContext::CoReadChildParts(ChildKey child, absl::Span<const ChainPart> parts,
                                           const IoVector& memory) {
  MILLRACE_ASSIGN_OR_RETURN(Node * node, Child(child));
  return CoReadNodeParts(*node, parts, memory);
}
absl::Status NodeContext::CoWriteChildParts(ChildKey child, absl::Span<const ByteRange> ranges,
                                            const IoVector& memory, WriteFlags flags) {
  MILLRACE_ASSIGN_OR_RETURN(Node * node, Child(child));
  return CoWriteNodeParts(*node, ranges, memory, flags);
}
bool NodeContext::CoKeepChildParts(ChildKey child, absl::Span<const ChainPart> parts,
                                   const IoVector& memory) {
  const absl::StatusOr<Node*> node = Child(child);
  return node.ok() &&
         CoTryShareNodeParts(**node, parts, **node, memory,
                             {.by = ShareBy::kSameBlocks, .only_if_unallocated = true});
}

absl::StatusOr<ChainExtent> NodeContext::CoMapChildChain(ChildKey child, ByteRange range,
                                                         std::string_view bottom) {
  MILLRACE_ASSIGN_OR_RETURN(Node * start, Child(child));
  const Node* top = start;
  while (top->is_filter() && top->FilteredOrBacking() != nullptr) {
    top = top->FilteredOrBacking()->child;
  }
  const Node* last = nullptr;
  if (!bottom.empty()) {
    for (const Node* node = top; node != nullptr && last == nullptr;) {
      if (node->name == bottom) last = node;
      const Edge* down = node->FilteredOrBacking();
      node = down == nullptr ? nullptr : down->child;
    }
    if (last == nullptr) {
      return absl::NotFoundError(
          StrCat("the chain below '", node_.name, "' has no node '", bottom, "'"));
    }
  }
  MILLRACE_ASSIGN_OR_RETURN(AllocationRun run, CoAllocationInChain(*start, range, nullptr, last));
  ChainExtent extent;
  extent.bytes = run.bytes;
  if (run.is_allocated) {
    extent.layer = run.layer == top->id ? ChainExtent::Layer::kTop : ChainExtent::Layer::kBetween;
  }
  return extent;
}

void NodeContext::CoEvent(std::string_view event) {
  const Role role = node_.is_filter() ? Role::kFiltered : Role::kPrimary;
  if (Edge* edge = node_.FindChild(role)) CoRaiseEvent(*edge->child, event);
}

uint64_t NodeContext::OldestRequest() const {
  const InFlightRequest* oldest = node_.requests.front();
  return oldest == nullptr ? UINT64_MAX : oldest->ordinal();
}

void NodeContext::LogWarning(std::string_view line) {
  engine().observer().OnLog(LogLevel::kWarning, StrCat("node '", node_.name, "': ", line));
}

}  // namespace millrace
