#include "millrace/graph/backing_chain.h"

#include <cstddef>

namespace millrace {
namespace {

// NodeView cannot be assigned, so chains are walked by recursion or with optionals that are
// emplaced.
// A plan that was not validated may stand on itself: a walk ends when it comes by again (Brent).
template <typename Stop>
std::optional<NodeView> FirstBelow(NodeView node, const Stop& stop) {
  std::optional<NodeView> here(node);
  NodeId milestone;
  size_t lap = 0;
  size_t lap_end = 1;
  while (here && !stop(*here)) {
    if (here->id() == milestone) return std::nullopt;
    if (++lap == lap_end) {
      milestone = here->id();
      lap = 0;
      lap_end *= 2;
    }
    std::optional<NodeView> next = here->FilteredOrBacking();
    here.reset();
    if (next) here.emplace(*next);
  }
  return here;
}

}  // namespace

NodeView SkipFilters(NodeView node) {
  std::optional<NodeView> found = FirstBelow(node, [](NodeView n) { return !n.is_filter(); });
  return found ? *found : node;
}

NodeView SkipImplicitFilters(NodeView node) {
  std::optional<NodeView> found =
      FirstBelow(node, [](NodeView n) { return !n.is_filter() || !n.is_implicit(); });
  return found ? *found : node;
}

std::optional<NodeView> BackingChainNext(NodeView node) {
  std::optional<NodeView> backing = SkipFilters(node).Backing();
  if (!backing) return std::nullopt;
  return SkipFilters(*backing);
}

std::vector<NodeId> ChainFrom(NodeView top, NodeId last) {
  std::vector<NodeId> ids;
  FirstBelow(top, [&](NodeView n) {
    ids.push_back(n.id());
    return n.id() == last;
  });
  return ids;
}

void WalkDown(NodeView top, absl::FunctionRef<void(NodeView)> visit) {
  FirstBelow(top, [&](NodeView n) {
    visit(n);
    return false;
  });
}

bool ChainContains(NodeView top, NodeView wanted) {
  return FirstBelow(top, [&](NodeView n) { return n == wanted; }).has_value();
}

std::optional<NodeView> FindOverlay(NodeView active, std::optional<NodeView> base) {
  std::optional<NodeView> wanted;
  if (base) wanted.emplace(SkipFilters(*base));
  std::optional<NodeView> found = FirstBelow(SkipFilters(active), [&](NodeView n) {
    if (n.is_filter()) return false;
    std::optional<NodeView> next = BackingChainNext(n);
    return wanted ? next && *next == *wanted : !next;
  });
  return found;
}

std::optional<NodeView> FindDirectlyAbove(NodeView top, NodeView child) {
  return FirstBelow(top, [&](NodeView n) {
    std::optional<NodeView> below = n.FilteredOrBacking();
    return below && *below == child;
  });
}

}  // namespace millrace
