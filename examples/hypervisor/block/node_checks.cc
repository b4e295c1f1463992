#include "examples/hypervisor/block/node_checks.h"

#include <variant>
#include <vector>

#include "examples/hypervisor/block/refusal.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {

absl::Status CheckIsNoBacking(const NodeView& node) {
  // Of several overlays the one that came last is told.
  const std::vector<NodeId> parents = node.parents();
  for (auto id = parents.rbegin(); id != parents.rend(); ++id) {
    absl::StatusOr<NodeView> parent = node.reader().Resolve(*id);
    if (!parent.ok() || !parent->Backing() || !(*parent->Backing() == node)) continue;
    const std::string device = node.device_name();
    const std::string& object = device.empty() ? node.name() : device;
    const std::string& holder = parent->name();
    return Refuse(
        {.reason = ConflictReason::kNodeInUse,
         .object = object,
         .holders = {{.id = holder, .type = "node", .as = "backing"}},
         .next_step = StrCat("use '", holder, "', or take it away first")},
        StrCat("Node '", object, "' is busy: node is used as backing hd of '", holder, "'"));
  }
  return absl::OkStatus();
}

absl::Status CheckIsFree(const NodeView& node, Operation operation) {
  if (node.has_backing_link_since(operation)) {
    MILLRACE_RETURN_IF_ERROR(CheckIsNoBacking(node));
  }
  MILLRACE_RETURN_IF_ERROR(OperationClaim::Check(node.reader(), node.id(), operation));
  return CheckIsNoBacking(node);
}

absl::Status CheckMayLeaveDrive(BlockLayer& layer, const Drive& drive, Operation operation) {
  if (!drive.backend.is_attached()) return absl::OkStatus();
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.Resolve(drive.backend.node()));
  return CheckIsFree(node, operation);
}

absl::Status CheckSizeMax(uint64_t bytes) {
  constexpr uint64_t kMost = AlignDown(kBytesMax, uint64_t{1} << 30);
  if (bytes <= kMost) return absl::OkStatus();
  return GenericError(StrCat("offset(", bytes, ") exceeds maximum(", kMost, ")"));
}

uint64_t BytesOfL2Table(const NodeView& image) {
  bool has_wide_entries = false;
  for (const FormatFact& fact : image.facts()) {
    if (fact.name == "extended-l2") has_wide_entries = std::get<bool>(fact.value);
  }
  return image.cluster_bytes() * (image.cluster_bytes() / (has_wide_entries ? 16 : 8));
}

absl::Status CheckIsRootForJobs(const NodeView& node) {
  if (node.parents().empty() && !node.has_job_user()) return absl::OkStatus();
  return RefuseForHolders(ConflictReason::kNotRoot, node.name(), node.jobs_and_parents(),
                          "Need a root block node");
}

}  // namespace millrace
