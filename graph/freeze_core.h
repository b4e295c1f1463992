// The graph's side of a lease. Internal; not installed.
#ifndef MILLRACE_GRAPH_FREEZE_CORE_H_
#define MILLRACE_GRAPH_FREEZE_CORE_H_

#include <vector>

#include "millrace/graph/holder.h"
#include "millrace/graph/node.h"

namespace millrace {

struct FrozenChainCore {
  ~FrozenChainCore();
  void Drop(Edge& edge);  // the edge leaves the lease

  HolderRef holder;
  NodeId top;
  NodeId last;
  std::vector<Edge*> edges;  // from the top down
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_FREEZE_CORE_H_
