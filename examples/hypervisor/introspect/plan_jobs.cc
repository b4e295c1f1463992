// Plans of jobs: every proof is taken as the job would take it, the edits of its start are
// rehearsed one after another, and all is let go of again; then the edit of its end is looked at.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/job_requests.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/introspect/plan.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"

namespace millrace {
namespace {

// The nodes of the job's chain, on which no other job could start.
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

// What is there before anything is done; the proofs are still held.
CommandPlan Before(BlockLayer& layer, NodeId device, const BlockJobProofs& proofs)
    MILLRACE_OPENS_VIEW {
  CommandPlan plan;
  GraphView view(layer.graph());
  plan.before = ChainBelow(view, device);
  plan.claims = ClaimedBy(proofs, view);
  return plan;
}

// The plan with what follows from the edit of the job's end, which `stage` stages; it returns the
// device's node then. The job is over by then, and holds nothing any more. That its end would be
// refused if it came now does not keep it from starting.
template <typename Stage>
CommandPlan WithEnd(BlockLayer& layer, CommandPlan plan, const Stage& stage) MILLRACE_OPENS_VIEW {
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

// What the stream's top is to stand on.
std::optional<NodeId> BaseOf(BlockLayer& layer, const StreamProofs& proofs) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  return proofs.chain.Below(view);
}

// A mirror's target is to its new users what the source was.
void BecomeAs(GraphTransaction& change, NodeId target, NodeId source) {
  const absl::StatusOr<NodeView> from = change.Resolve(source);
  const absl::StatusOr<NodeView> to = change.Resolve(target);
  if (!from.ok() || !to.ok() || from->is_read_only() == to->is_read_only()) return;
  StageReadOnly(change, target, from->is_read_only());
}

PlanResult PlanStream(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const StreamOptions options, ResolveBlockStream(layer, arguments));
  absl::StatusOr<StreamProofs> claimed = ClaimForNewStream(layer.graph(), layer.jobs(), options);
  if (!claimed.ok()) return AsStreamRefusal(claimed.status());
  StreamProofs proofs = *std::move(claimed);
  CommandPlan plan = Before(layer, options.top, proofs);
  const std::string id = proofs.holder->id;
  const NodeId overlay = proofs.overlay;
  const std::optional<NodeId> base = BaseOf(layer, proofs);
  const absl::Status refusal = RehearseStreamStart(layer.graph(), std::move(proofs), options);
  if (!refusal.ok()) return AsStreamRefusal(refusal);
  MILLRACE_RETURN_IF_ERROR(JobManager::CheckSpeed(id, options.job.spec.speed));
  return WithEnd(layer, std::move(plan), [&](GraphTransaction& change) {
    const absl::StatusOr<NodeView> filled = change.Resolve(overlay);
    if (filled.ok() && filled->Backing()) change.SetBacking(overlay, base, std::nullopt);
    return options.top;
  });
}

PlanResult PlanCommit(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const CommitOptions options, ResolveBlockCommit(layer, arguments));
  MILLRACE_ASSIGN_OR_RETURN(CommitProofs proofs,
                            ClaimForNewCommit(layer.graph(), layer.jobs(), options));
  CommandPlan plan = Before(layer, options.root, proofs);
  const std::string id = proofs.holder->id;
  const NodeId top = proofs.top;
  const NodeId base = proofs.base;
  const bool is_active = proofs.is_active;
  MILLRACE_RETURN_IF_ERROR(RehearseCommitStart(layer.graph(), std::move(proofs), options));
  MILLRACE_RETURN_IF_ERROR(JobManager::CheckSpeed(id, options.job.spec.speed));
  return WithEnd(layer, std::move(plan), [&](GraphTransaction& change) {
    if (is_active) BecomeAs(change, base, top);
    change.ReplaceNode(top, base);
    return options.root == top ? base : options.root;
  });
}

// Why the mirror would fail as soon as it runs, in words; empty if it would not.
std::string LengthsThatDiffer(BlockLayer& layer, const MirrorProofs& proofs) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  const absl::StatusOr<NodeView> source = view.Resolve(proofs.source);
  const absl::StatusOr<NodeView> target = view.Resolve(proofs.target);
  // A base below grows.
  if (!source.ok() || !target.ok() || proofs.is_target_below) return {};
  if (source->bytes() == target->bytes()) return {};
  return StrCat("fail when it runs: the source has ", source->bytes(), " bytes and the target ",
                target->bytes());
}

PlanResult PlanMirror(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const MirrorOptions options, ResolveBlockdevMirror(layer, arguments));
  MILLRACE_ASSIGN_OR_RETURN(MirrorProofs proofs,
                            ClaimForNewMirror(layer.graph(), layer.jobs(), options));
  CommandPlan plan = Before(layer, options.source, proofs);
  const std::string id = proofs.holder->id;
  const NodeId replaced = proofs.replaced;
  const NodeId target = proofs.target;
  const std::string failure = LengthsThatDiffer(layer, proofs);
  MILLRACE_RETURN_IF_ERROR(RehearseMirrorStart(layer.graph(), std::move(proofs), options));
  MILLRACE_RETURN_IF_ERROR(JobManager::CheckSpeed(id, options.job.spec.speed));
  if (!failure.empty()) plan.steps.push_back(failure);
  return WithEnd(layer, std::move(plan), [&](GraphTransaction& change) {
    if (!failure.empty()) return options.source;
    BecomeAs(change, target, options.source);
    change.ReplaceNode(replaced, target);
    return replaced == options.source ? target : options.source;
  });
}

}  // namespace

void SetJobPlanners(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  commands.SetPlanner("block-stream", [&layer](const json::object& given)
                                          MILLRACE_OPENS_VIEW { return PlanStream(layer, given); });
  commands.SetPlanner("block-commit", [&layer](const json::object& given)
                                          MILLRACE_OPENS_VIEW { return PlanCommit(layer, given); });
  commands.SetPlanner("blockdev-mirror", [&layer](const json::object& given) MILLRACE_OPENS_VIEW {
    return PlanMirror(layer, given);
  });
}

}  // namespace millrace
