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

namespace {

absl::StatusOr<StagedTree> StageNodes(GraphTransaction& change, const DriverRegistry& registry,
                                      NodeTree tree, const OpenTreeOptions& options,
                                      bool step_by_step) {
  const ChainRules rules = RulesOf(options);
  change.ToRehearse().OnBehalfOf(rules.holder);
  Inherited top;
  top.is_top = true;
  TreeStager stager(change, registry, rules, step_by_step);
  MILLRACE_ASSIGN_OR_RETURN(const TreeStager::Staged chain,
                            stager.Stage(std::move(tree), top, ChainGuard(rules.gate)));
  StagedTree staged;
  staged.top = chain.top;
  if (staged.top.is_valid()) staged.hold = change.Attach(staged.top, ToHoldImage(rules.holder));
  staged.unknown = std::move(stager.unknown());
  return staged;
}

}  // namespace

absl::StatusOr<StagedTree> StageTree(GraphTransaction& change, const DriverRegistry& registry,
                                     NodeTree tree, const OpenTreeOptions& options) {
  return StageNodes(change, registry, std::move(tree), options, /*step_by_step=*/false);
}

absl::StatusOr<StagedTree> RehearseTree(GraphTransaction& change, const DriverRegistry& registry,
                                        NodeTree tree, const OpenTreeOptions& options) {
  MILLRACE_ASSIGN_OR_RETURN(StagedTree staged, StageNodes(change, registry, std::move(tree),
                                                          options, /*step_by_step=*/true));
  if (staged.top.is_valid()) MILLRACE_RETURN_IF_ERROR(change.Rehearse());
  return staged;
}

}  // namespace millrace
