#include "examples/hypervisor/block/plan_tools.h"

#include <utility>

#include "absl/strings/str_split.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/describe.h"

namespace millrace {

std::string ChainBelow(const GraphReader& reader, NodeId top) {
  const absl::StatusOr<NodeView> node = reader.Resolve(top);
  return node.ok() ? DescribeChain(*node) : std::string();
}

void LookAt(const GraphTransaction& change, CommandPlan* plan) {
  for (const absl::string_view line :
       absl::StrSplit(change.DescribePlan(), '\n', absl::SkipEmpty())) {
    plan->steps.emplace_back(line);
  }
  plan->graph = json::parse(DescribeJson(change));
}

PlanResult PlanOfEdit(GraphTransaction& change, CommandPlan plan) {
  MILLRACE_RETURN_IF_ERROR(change.Rehearse());
  LookAt(change, &plan);
  return plan;
}

}  // namespace millrace
