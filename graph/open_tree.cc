#include "millrace/graph/open_tree.h"

#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/open/chain_opener.h"

namespace millrace {

absl::StatusOr<Attachment> CoOpenTree(Graph& graph, const DriverRegistry& registry, NodeTree tree,
                                      const OpenTreeOptions& options) {
  ChainRules rules;
  static_cast<OpenTreeOptions&>(rules) = options;
  rules.holder = HolderOrMonitor(options.holder);
  Inherited top;
  top.is_top = true;
  MILLRACE_ASSIGN_OR_RETURN(
      OpenedChain chain,
      ChainOpener(graph, registry, rules).CoOpen(std::move(tree), top, ChainGuard(rules.gate)));
  return std::move(chain.holds.front());
}

}  // namespace millrace
