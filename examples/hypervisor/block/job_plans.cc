#include "examples/hypervisor/block/job_plans.h"

#include <string>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open_node.h"

namespace millrace {
namespace {

std::vector<std::string> ClaimedBy(const BlockJobProofs& proofs, const GraphReader& reader) {
  std::vector<std::string> names;
  if (!proofs.chain.is_held()) return names;
  const absl::StatusOr<NodeView> top = reader.Resolve(proofs.chain.top());
  if (!top.ok()) return names;
  for (const NodeId id : ChainFrom(*top)) {
    const absl::StatusOr<NodeView> node = reader.Resolve(id);
    if (node.ok()) names.push_back(node->name());
    if (id == proofs.chain.last()) break;
  }
  return names;
}

}  // namespace

CommandPlan PlanBefore(BlockLayer& layer, NodeId device, const BlockJobProofs& proofs) {
  CommandPlan plan;
  GraphView view(layer.graph());
  plan.before = ChainBelow(view, device);
  plan.claims = ClaimedBy(proofs, view);
  return plan;
}

absl::Status CheckJobStart(BlockLayer& layer, JobSpec spec, const Holder& holder) {
  spec.id = holder.id;
  MILLRACE_RETURN_IF_ERROR(layer.jobs().CheckNewJob(spec));
  return JobManager::CheckSpeed(holder.id, spec.speed);
}

CommandPlan PlanWithEnd(BlockLayer& layer, CommandPlan plan, const StageJobEnd& stage) {
  GraphTransaction change(layer.graph());
  const NodeId top_after = stage(change);
  const absl::Status refusal = change.Rehearse();
  if (refusal.ok()) {
    plan.after = ChainBelow(change, top_after);
    LookAt(change, &plan);
    return plan;
  }
  plan.after = plan.before;
  plan.steps.push_back(StrCat("fail at its end, if that came now: ",
                              RenderError(refusal, layer.host().renderer).desc));
  return plan;
}

void StageBecomeAs(GraphTransaction& change, NodeId target, NodeId source) {
  const absl::StatusOr<NodeView> from = change.Resolve(source);
  const absl::StatusOr<NodeView> to = change.Resolve(target);
  if (!from.ok() || !to.ok() || from->is_read_only() == to->is_read_only()) return;
  StageReadOnly(change, target, from->is_read_only());
}

}  // namespace millrace
