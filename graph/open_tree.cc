#include "millrace/graph/open_tree.h"

#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/open/chain_opener.h"
#include "millrace/graph/open/tree_stager.h"

namespace millrace {
namespace {

ChainRules RulesOf(const OpenTreeOptions& options) {
  ChainRules rules;
  static_cast<OpenTreeOptions&>(rules) = options;
  rules.holder = HolderOrMonitor(options.holder);
  return rules;
}

}  // namespace

absl::StatusOr<Attachment> CoOpenTree(Graph& graph, const DriverRegistry& registry, NodeTree tree,
                                      const OpenTreeOptions& options) {
  const ChainRules rules = RulesOf(options);
  Inherited top;
  top.is_top = true;
  MILLRACE_ASSIGN_OR_RETURN(
      OpenedChain chain,
      ChainOpener(graph, registry, rules).CoOpen(std::move(tree), top, ChainGuard(rules.gate)));
  return std::move(chain.holds.front());
}

absl::StatusOr<StagedTree> StageTree(GraphTransaction& change, const DriverRegistry& registry,
                                     NodeTree tree, const OpenTreeOptions& options) {
  const ChainRules rules = RulesOf(options);
  change.OnBehalfOf(rules.holder);
  Inherited top;
  top.is_top = true;
  TreeStager stager(change, registry, rules);
  StagedTree staged;
  MILLRACE_ASSIGN_OR_RETURN(staged.top, stager.Stage(std::move(tree), top, ChainGuard(rules.gate)));
  if (staged.top.is_valid()) staged.hold = change.Attach(staged.top, ToHoldImage(rules.holder));
  staged.unknown = std::move(stager.unknown());
  return staged;
}

}  // namespace millrace
