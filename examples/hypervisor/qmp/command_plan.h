// What a command would do, told without doing it.
//
// A planner answers with the refusal that its command would get now, or with what would follow. It
// changes nothing, opens nothing, sends no event and does not suspend. So what only the host can
// tell is not asked: whether a file that is to be opened is there, or can be written; `unknown`
// says so. (Image locks of open files are looked at.) Names that are yet to be generated
// ("#block12") may be others.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_COMMAND_PLAN_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_COMMAND_PLAN_H_

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/hypervisor/qmp/json.h"

namespace millrace {

struct CommandPlan {
  std::string before;  // the chain concerned, from the top down; empty if it is about none
  std::string after;
  std::vector<std::string> claims;   // nodes on which no other job could start meanwhile
  std::vector<std::string> steps;    // the edits, in words
  std::vector<std::string> unknown;  // what only the host or an image tells, in words
  json::value graph;                 // afterwards, but for that; null if it stays as it is
  std::string why_not;               // not empty: nothing is planned, and this is why
};

// The refusal, as the command's own error would be.
using PlanResult = absl::StatusOr<CommandPlan>;

// Declared arguments have been checked.
using CommandPlanner = std::function<PlanResult(const json::object& arguments)>;

// For a command that is one step.
inline CommandPlan PlanOfStep(std::string step) {
  CommandPlan plan;
  plan.steps.push_back(std::move(step));
  return plan;
}

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_COMMAND_PLAN_H_
