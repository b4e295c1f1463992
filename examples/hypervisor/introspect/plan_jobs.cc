// Plans of jobs: every proof is taken as the job would take it, the edits of its start are
// rehearsed one after another, and all is let go of again; then the edit of its end is looked at.
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/job_plans.h"
#include "examples/hypervisor/block/job_requests.h"
#include "examples/hypervisor/introspect/plan.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/holder.h"

namespace millrace {
namespace {

// What the stream's top is to stand on.
std::optional<NodeId> BaseOf(BlockLayer& layer, const StreamProofs& proofs) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  return proofs.chain.Below(view);
}

PlanResult PlanStream(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const StreamOptions options, ResolveBlockStream(layer, arguments));
  absl::StatusOr<StreamProofs> claimed = ClaimForNewStream(layer.graph(), layer.jobs(), options);
  if (!claimed.ok()) return AsStreamRefusal(claimed.status());
  StreamProofs proofs = *std::move(claimed);
  CommandPlan plan = PlanBefore(layer, options.top, proofs);
  const HolderRef holder = proofs.holder;
  const NodeId overlay = proofs.overlay;
  const std::optional<NodeId> base = BaseOf(layer, proofs);
  const absl::Status refusal = RehearseStreamStart(layer.graph(), std::move(proofs), options);
  if (!refusal.ok()) return AsStreamRefusal(refusal);
  MILLRACE_RETURN_IF_ERROR(CheckJobStart(layer, options.job.spec, *holder));
  return PlanWithEnd(layer, std::move(plan), [&](GraphTransaction& change) {
    const absl::StatusOr<NodeView> filled = change.Resolve(overlay);
    if (filled.ok() && filled->Backing()) change.SetBacking(overlay, base, std::nullopt);
    return options.top;
  });
}

PlanResult PlanCommit(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const CommitOptions options, ResolveBlockCommit(layer, arguments));
  MILLRACE_ASSIGN_OR_RETURN(CommitProofs proofs,
                            ClaimForNewCommit(layer.graph(), layer.jobs(), options));
  CommandPlan plan = PlanBefore(layer, options.root, proofs);
  const HolderRef holder = proofs.holder;
  const NodeId top = proofs.top;
  const NodeId base = proofs.base;
  const bool is_active = proofs.is_active;
  MILLRACE_RETURN_IF_ERROR(RehearseCommitStart(layer.graph(), std::move(proofs), options));
  MILLRACE_RETURN_IF_ERROR(CheckJobStart(layer, options.job.spec, *holder));
  return PlanWithEnd(layer, std::move(plan), [&](GraphTransaction& change) {
    if (is_active) StageBecomeAs(change, base, top);
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
  CommandPlan plan = PlanBefore(layer, options.source, proofs);
  const HolderRef holder = proofs.holder;
  const NodeId replaced = proofs.replaced;
  const NodeId target = proofs.target;
  const std::string failure = LengthsThatDiffer(layer, proofs);
  MILLRACE_RETURN_IF_ERROR(RehearseMirrorStart(layer.graph(), std::move(proofs), options));
  MILLRACE_RETURN_IF_ERROR(CheckJobStart(layer, options.job.spec, *holder));
  if (!failure.empty()) plan.steps.push_back(failure);
  return PlanWithEnd(layer, std::move(plan), [&](GraphTransaction& change) {
    if (!failure.empty()) return options.source;
    StageBecomeAs(change, target, options.source);
    StageMirrorTakeover(change, options, replaced);
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
