// The graph's side of a lease. Internal; not installed.
#ifndef MILLRACE_GRAPH_FREEZE_CORE_H_
#define MILLRACE_GRAPH_FREEZE_CORE_H_

#include <vector>

#include "millrace/graph/holder.h"
#include "millrace/graph/node.h"

namespace millrace {

struct FrozenChainCore {
  ~FrozenChainCore();
  // The edge leaves the lease. If its parent goes and was the top, the child is the top from now
  // on.
  void Drop(Edge& edge, bool parent_goes);

  HolderRef holder;
  NodeId top;
  NodeId last;
  std::vector<Edge*> edges;  // from the top down
  bool was_edited = false;   // its owner took edges out, so there may be gaps
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_FREEZE_CORE_H_
