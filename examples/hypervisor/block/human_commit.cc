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

std::string CoCommitDrive(BlockLayer& layer, const std::string& id) MILLRACE_MAY_SUSPEND {
  const Drive* const drive = id.empty() ? nullptr : layer.FindDrive(id);
  if (drive == nullptr) return StrCat("Device '", id, "' not found\r\n");
  if (!drive->backend.is_attached()) return StrCat("Device '", id, "' has no medium\r\n");
  std::optional<CommitOptions> options = OptionsFor(layer, *drive);
  if (!options) return CommitError(id, "Operation not supported");
  return CoCommit(layer, id, *std::move(options));
}

// Drives without a medium or a backing are passed over; the first that fails is the last.
std::string CoCommitAll(BlockLayer& layer) MILLRACE_MAY_SUSPEND {
  std::vector<std::string> ids;
  for (const std::unique_ptr<Drive>& drive : layer.drives()) ids.push_back(drive->id);
  for (const std::string& id : ids) {
    const Drive* const drive = id.empty() ? nullptr : layer.FindDrive(id);
    if (drive == nullptr || !drive->backend.is_attached()) continue;
    std::optional<CommitOptions> options = OptionsFor(layer, *drive);
    if (!options) continue;
    std::string refused = CoCommit(layer, "all", *std::move(options));
    if (!refused.empty()) return refused;
  }
  return {};
}

}  // namespace

void RegisterHumanCommit(BlockLayer& layer) {
  RegisterHuman(layer, "commit", {"commit", "", {{"device", HmpKind::kDevice}}},
                [&layer](const json::object& given) MILLRACE_MAY_SUSPEND {
                  const std::string device(TextOf(given, "device"));
                  return device == "all" ? CoCommitAll(layer) : CoCommitDrive(layer, device);
                });
}

}  // namespace millrace
