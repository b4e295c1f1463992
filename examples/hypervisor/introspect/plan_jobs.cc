// Plans of jobs: every proof is taken as the job would take it, the edit of its end is staged and
// looked at, and all is let go of again.
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/job_requests.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/introspect/plan.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_transaction.h"

namespace millrace {
namespace {

// A read-only image becomes writable for the job, if its file may.
absl::Status CheckBecomesWritable(BlockLayer& layer, NodeId image) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.Resolve(image));
  const std::optional<NodeView> file = node.Child(Role::kPrimary);
  if (!node.is_read_only() || !file || !file->is_read_only() || file->follows_parent_access()) {
    return absl::OkStatus();
  }
  return RefuseJob(absl::StatusCode::kPermissionDenied, ConflictReason::kReadOnly, file->name(), "",
                   StrCat("'", node.name(), "' cannot become writable: '", file->name(),
                          "' below it is read-only"),
                   "open the file for writing");
}

absl::Status CheckSpeed(const BlockJobOptions& options, const std::string& id) {
  if (options.spec.speed >= 0) return absl::OkStatus();
  return RefuseJob(absl::StatusCode::kInvalidArgument, ConflictReason::kNegativeSpeed, id, "",
                   "a speed is not negative", "give a number of bytes a second, or 0");
}

// The plan of a job whose proofs are `proofs`; `stage` stages the edit of its end.
template <typename Stage>
PlanResult PlanOf(BlockLayer& layer, NodeId device, BlockJobProofs& proofs, const Stage& stage)
    MILLRACE_OPENS_VIEW {
  CommandPlan plan;
  GraphTransaction change(layer.graph());
  if (proofs.chain.is_held()) change.Show(proofs.chain);
  plan.before = ChainBelow(change, device);
  if (proofs.chain.is_held()) {
    MILLRACE_ASSIGN_OR_RETURN(const NodeView top, change.Resolve(proofs.chain.top()));
    for (const NodeId id : ChainFrom(top)) {
      absl::StatusOr<NodeView> node = change.Resolve(id);
      if (node.ok()) plan.claims.push_back(node->name());
      if (id == proofs.chain.last()) break;
    }
  }
  const NodeId top_after = stage(change);
  plan.after = ChainBelow(change, top_after);
  LookAt(change, &plan);
  return plan;
}

PlanResult PlanStream(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const StreamOptions options, ResolveBlockStream(layer, arguments));
  absl::StatusOr<StreamProofs> claimed = ClaimForNewStream(layer.graph(), layer.jobs(), options);
  if (!claimed.ok()) return AsStreamRefusal(claimed.status());
  StreamProofs proofs = *std::move(claimed);
  MILLRACE_RETURN_IF_ERROR(CheckBecomesWritable(layer, proofs.overlay));
  MILLRACE_RETURN_IF_ERROR(CheckSpeed(options, proofs.holder->id));
  return PlanOf(layer, options.top, proofs, [&](GraphTransaction& change) {
    const absl::StatusOr<NodeView> overlay = change.Resolve(proofs.overlay);
    if (overlay.ok() && overlay->Backing()) {
      change.SetBacking(proofs.overlay, proofs.chain.Below(change), std::nullopt);
    }
    return options.top;
  });
}

PlanResult PlanCommit(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const CommitOptions options, ResolveBlockCommit(layer, arguments));
  MILLRACE_ASSIGN_OR_RETURN(CommitProofs proofs,
                            ClaimForNewCommit(layer.graph(), layer.jobs(), options));
  MILLRACE_RETURN_IF_ERROR(CheckBecomesWritable(layer, proofs.base));
  MILLRACE_RETURN_IF_ERROR(CheckSpeed(options, proofs.holder->id));
  return PlanOf(layer, options.root, proofs, [&](GraphTransaction& change) {
    change.ReplaceNode(proofs.top, proofs.base);
    return options.root == proofs.top ? proofs.base : options.root;
  });
}

PlanResult PlanMirror(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const MirrorOptions options, ResolveBlockdevMirror(layer, arguments));
  MILLRACE_ASSIGN_OR_RETURN(MirrorProofs proofs,
                            ClaimForNewMirror(layer.graph(), layer.jobs(), options));
  MILLRACE_RETURN_IF_ERROR(CheckSpeed(options, proofs.holder->id));
  return PlanOf(layer, options.source, proofs, [&](GraphTransaction& change) {
    change.ReplaceNode(proofs.replaced, proofs.target);
    return proofs.replaced == options.source ? proofs.target : options.source;
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
