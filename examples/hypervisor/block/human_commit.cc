// "commit" of the human monitor: what a drive's image holds goes into its backing, and the image is
// empty. A job of nobody's does it, and its end is waited for. Guests go on meanwhile, monitors
// wait.
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/human_tools.h"
#include "examples/hypervisor/qmp/json_fields.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/job/error_policy.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"
#include "millrace/jobs/commit/commit_job.h"

namespace millrace {
namespace {

std::string CommitError(std::string_view name, std::string_view why) {
  return StrCat("'commit' error for '", name, "': ", why, "\r\n");
}

// The image directly below the drive's own, if it has one; a filter that the user has put on top
// is not looked through.
std::optional<CommitOptions> OptionsFor(BlockLayer& layer, const Drive& drive) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  const absl::StatusOr<NodeView> top = view.Resolve(drive.backend.node());
  if (!top.ok()) return std::nullopt;
  const std::optional<NodeView> backing = SkipImplicitFilters(*top).Backing();
  if (!backing) return std::nullopt;
  CommitOptions options;
  options.job.spec.is_internal = true;
  options.root = options.top = top->id();
  options.base = backing->id();
  options.empties_top = true;
  return options;
}

// Why it cannot even begin, as an errno has it; what else QEMU says of it comes before that.
std::string RefusedCommit(BlockLayer& layer, std::string_view name, const absl::Status& status) {
  const std::optional<Conflict> conflict = ConflictOf(status);
  const ConflictReason reason = conflict ? conflict->reason : ConflictReason::kUnknownJob;
  switch (reason) {
    case ConflictReason::kNodeBusy:
    case ConflictReason::kFrozenLink:
    case ConflictReason::kUnleasableFilter:
    case ConflictReason::kNotRoot:
      return CommitError(name, "Device or resource busy");
    case ConflictReason::kPermission:
    case ConflictReason::kReadOnly:
      return HumanRefusal(layer, status) + CommitError(name, "Operation not permitted");
    default:
      return CommitError(name, "Permission denied");
  }
}

std::string CoCommit(BlockLayer& layer, std::string_view name, CommitOptions options)
    MILLRACE_MAY_SUSPEND {
  const absl::StatusOr<JobNumber> job =
      CoStartCommit(layer.graph(), layer.jobs(), std::move(options));
  if (!job.ok()) return RefusedCommit(layer, name, job.status());
  const absl::Status status = layer.CoWaitUntilOver(*job);
  return status.ok() ? std::string() : CommitError(name, JobErrorText(status));
}

// A drive whose image is to be committed, or why there is nothing to commit.
struct CommitRequest {
  std::string mistake;
  std::optional<CommitOptions> options;
};

CommitRequest ReadCommit(BlockLayer& layer, const std::string& id) MILLRACE_OPENS_VIEW {
  const Drive* const drive = id.empty() ? nullptr : layer.FindDrive(id);
  if (drive == nullptr) return {StrCat("Device '", id, "' not found\r\n"), {}};
  if (!drive->backend.is_attached()) return {StrCat("Device '", id, "' has no medium\r\n"), {}};
  CommitRequest request;
  request.options = OptionsFor(layer, *drive);
  if (!request.options) request.mistake = CommitError(id, "Operation not supported");
  return request;
}

std::string CoCommitDrive(BlockLayer& layer, const std::string& id) MILLRACE_MAY_SUSPEND {
  CommitRequest request = ReadCommit(layer, id);
  if (!request.options) return request.mistake;
  return CoCommit(layer, id, *std::move(request.options));
}

std::vector<std::string> DriveIds(const BlockLayer& layer) {
  std::vector<std::string> ids;
  for (const std::unique_ptr<Drive>& drive : layer.drives()) ids.push_back(drive->id);
  return ids;
}

// Drives without a medium or a backing are passed over; the first that fails is the last.
std::string CoCommitAll(BlockLayer& layer) MILLRACE_MAY_SUSPEND {
  for (const std::string& id : DriveIds(layer)) {
    CommitRequest request = ReadCommit(layer, id);
    if (!request.options) continue;
    std::string refused = CoCommit(layer, "all", *std::move(request.options));
    if (!refused.empty()) return refused;
  }
  return {};
}

// ---- Plans -------------------------------------------------------------------------------------

absl::Status RehearseCommit(BlockLayer& layer, const CommitOptions& options) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(CommitProofs proofs,
                            ClaimForNewCommit(layer.graph(), layer.jobs(), options));
  MILLRACE_RETURN_IF_ERROR(RehearseCommitStart(layer.graph(), std::move(proofs), options));
  return layer.jobs().CheckNewJob(options.job.spec);
}

// In the end the image is empty, and the graph what it was.
PlanResult PlanHumanCommit(BlockLayer& layer, const std::string& device) MILLRACE_OPENS_VIEW {
  const bool is_of_all = device == "all";
  CommandPlan plan;
  for (const std::string& id : is_of_all ? DriveIds(layer) : std::vector<std::string>{device}) {
    const CommitRequest request = ReadCommit(layer, id);
    if (!request.options && is_of_all) continue;
    if (!request.options) return RefusedLine(request.mistake);
    const absl::Status refusal = RehearseCommit(layer, *request.options);
    if (!refusal.ok()) return RefusedLine(RefusedCommit(layer, device, refusal), refusal);
    plan.steps.push_back(StrCat("copy what the image of '", id, "' holds into its backing"));
    plan.steps.push_back(StrCat("empty the image of '", id, "'"));
    plan.unknown.push_back(StrCat("whether all that '", id, "' holds can be copied"));
  }
  if (plan.steps.empty()) return PlanOfStep("nothing: no drive's image stands on another");
  return plan;
}

}  // namespace

void RegisterHumanCommit(BlockLayer& layer) {
  RegisterHuman(
      layer, "commit", {"commit", "", {{"device", HmpKind::kDevice}}},
      [&layer](const json::object& given) MILLRACE_MAY_SUSPEND {
        const std::string device(TextOf(given, "device"));
        return device == "all" ? CoCommitAll(layer) : CoCommitDrive(layer, device);
      },
      [&layer](const json::object& given) MILLRACE_OPENS_VIEW {
        return PlanHumanCommit(layer, std::string(TextOf(given, "device")));
      });
}

}  // namespace millrace
