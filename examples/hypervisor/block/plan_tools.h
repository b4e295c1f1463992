// What plans of commands share (qmp/command_plan.h): an edit of the graph, staged and looked at.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_PLAN_TOOLS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_PLAN_TOOLS_H_

#include <string>

#include "examples/hypervisor/qmp/command_plan.h"
#include "millrace/graph/graph_transaction.h"

namespace millrace {

// The chain below a node as it is seen through `reader`, which may be a staged transaction.
std::string ChainBelow(const GraphReader& reader, NodeId top);

// Puts the edits, and the graph as it would be, into the plan.
void LookAt(const GraphTransaction& change, CommandPlan* plan);

// Rehearses the edit: its refusal, or the plan with LookAt().
PlanResult PlanOfEdit(GraphTransaction& change, CommandPlan plan = {});

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_PLAN_TOOLS_H_
