#include "millrace/graph/io/node_context.h"

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/io/node_io.h"

namespace millrace {

Engine& NodeContext::engine() const { return node_.graph.engine(); }

absl::StatusOr<Node*> NodeContext::Child(Role role) const {
  Edge* edge = node_.FindChild(role);
  if (edge != nullptr) return edge->child;
  return absl::FailedPreconditionError(
      StrCat("node '", node_.name, "' has no ", RoleName(role), " child"));
}

uint64_t NodeContext::ChildBytes(Role role) const {
  Edge* edge = node_.FindChild(role);
  return edge == nullptr ? 0 : edge->child->driver->bytes();
}

absl::Status NodeContext::CoReadChild(Role role, uint64_t offset, const IoVector& target) {
  MILLRACE_ASSIGN_OR_RETURN(Node * child, Child(role));
  return CoReadNode(*child, offset, target);
}
absl::Status NodeContext::CoWriteChild(Role role, uint64_t offset, const IoVector& source,
                                       WriteFlags flags) {
  MILLRACE_ASSIGN_OR_RETURN(Node * child, Child(role));
  return CoWriteNode(*child, offset, source, flags);
}
absl::Status NodeContext::CoWriteZeroesChild(Role role, ByteRange range, ZeroFlags flags) {
  MILLRACE_ASSIGN_OR_RETURN(Node * child, Child(role));
  return CoWriteZeroesNode(*child, range, flags);
}
absl::Status NodeContext::CoDiscardChild(Role role, ByteRange range) {
  MILLRACE_ASSIGN_OR_RETURN(Node * child, Child(role));
  return CoDiscardNode(*child, range);
}
absl::Status NodeContext::CoFlushChild(Role role) {
  MILLRACE_ASSIGN_OR_RETURN(Node * child, Child(role));
  return CoFlushNode(*child);
}
absl::Status NodeContext::CoResizeChild(Role role, uint64_t bytes) {
  MILLRACE_ASSIGN_OR_RETURN(Node * child, Child(role));
  return CoResizeNode(*child, bytes);
}
absl::StatusOr<Extent> NodeContext::CoMapChild(Role role, ByteRange range) {
  MILLRACE_ASSIGN_OR_RETURN(Node * child, Child(role));
  return CoMapNode(*child, range);
}

absl::StatusOr<ChainExtent> NodeContext::CoMapChildChain(Role role, ByteRange range,
                                                         std::string_view bottom) {
  MILLRACE_ASSIGN_OR_RETURN(Node * child, Child(role));
  const Node* top = child;
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
  MILLRACE_ASSIGN_OR_RETURN(AllocationRun run, CoAllocationInChain(*child, range, nullptr, last));
  ChainExtent extent;
  extent.bytes = run.bytes;
  if (run.is_allocated) {
    extent.layer = run.layer == top->id ? ChainExtent::Layer::kTop : ChainExtent::Layer::kBetween;
  }
  return extent;
}

void NodeContext::CoEvent(std::string_view event) {
  if (Edge* edge = node_.FindChild(Role::kPrimary)) CoRaiseEvent(*edge->child, event);
}

uint64_t NodeContext::OldestRequest() const {
  const InFlightRequest* oldest = node_.requests.front();
  return oldest == nullptr ? UINT64_MAX : oldest->ordinal();
}

void NodeContext::LogWarning(std::string_view line) {
  engine().observer().OnLog(LogLevel::kWarning, StrCat("node '", node_.name, "': ", line));
}

}  // namespace millrace
