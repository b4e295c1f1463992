// What a command would do, without doing it: x-millrace-plan.
//
// A plan answers with the refusal that the command would get now, or with the graph as it would be
// once the command, or the job that it starts, has succeeded. Nothing is changed, nothing is
// opened, no event is sent, and nothing suspends. So what only the host can tell is not asked:
// whether a file that is to be opened is there, or can be written.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_PLAN_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_PLAN_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/qmp/json.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/graph_view.h"

namespace millrace {

struct CommandPlan {
  std::string before;  // the chain concerned, from the top down; empty if it is about none
  std::string after;
  std::vector<std::string> claims;  // nodes on which no other job could start meanwhile
  std::vector<std::string> steps;   // the edits, in words
  json::value graph;                // afterwards; null if the command does not change it
};

// The refusal, as the command's own error would be.
using PlanResult = absl::StatusOr<CommandPlan>;

// How commands of one name are planned. Arguments have been checked.
struct Planner {
  std::string_view command;
  PlanResult (*plan)(BlockLayer& layer, std::string_view command, const json::object& arguments);
};

// Jobs: block-stream, block-commit, blockdev-mirror (plan_jobs.cc).
std::vector<Planner> JobPlanners();
// Nodes: blockdev-add, blockdev-del, blockdev-snapshot (plan_nodes.cc).
std::vector<Planner> NodePlanners();
// Verbs: job-pause and so on, and block-job-pause and so on (plan_verbs.cc).
std::vector<Planner> VerbPlanners();

// The chain below a node as it is seen through `reader`, which may be a staged transaction.
std::string ChainBelow(const GraphReader& reader, NodeId top);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_PLAN_H_
