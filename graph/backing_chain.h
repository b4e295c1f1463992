// Walking backing chains. All functions read through a view or transaction and suspend nowhere;
// their answers are valid inside it. In a plan that is a cycle, which Validate() refuses, a walk
// ends after it has come by again, and may name nodes several times. An overlay has the other node
// as its backing; filters are looked through as each name says.
#ifndef MILLRACE_GRAPH_BACKING_CHAIN_H_
#define MILLRACE_GRAPH_BACKING_CHAIN_H_

#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "millrace/graph/graph_view.h"

namespace millrace {

// The first node at or below `node` that is not a filter.
NodeView SkipFilters(NodeView node);
// The first at or below that is not an implicit filter.
NodeView SkipImplicitFilters(NodeView node);
// The next image below: filters of both ends skipped. Nothing at the bottom.
std::optional<NodeView> BackingChainNext(NodeView node);
// The nodes from `top` down by filtered and backing links, top included; down to `last`, included,
// if it is there. Give it where you can: a chain has no bound.
std::vector<NodeId> ChainFrom(NodeView top, NodeId last = NodeId());
// The same, shown one by one.
void WalkDown(NodeView top, absl::FunctionRef<void(NodeView)> visit);
bool ChainContains(NodeView top, NodeView wanted);
// The lowest non-filter image at or below `active` whose next image is `base` (filters of base
// skipped); without a base, the bottom-most image. Nothing if there is none.
std::optional<NodeView> FindOverlay(NodeView active, std::optional<NodeView> base);
// The node in the chain whose filtered-or-backing child is `child` itself; nothing if none.
std::optional<NodeView> FindDirectlyAbove(NodeView top, NodeView child);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_BACKING_CHAIN_H_
