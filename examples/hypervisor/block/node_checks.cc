#include "examples/hypervisor/block/node_checks.h"

#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/text.h"

namespace millrace {

absl::Status CheckIsNoBacking(const NodeView& node) {
  for (NodeId id : node.parents()) {
    absl::StatusOr<NodeView> parent = node.reader().Resolve(id);
    if (!parent.ok() || !parent->Backing() || !(*parent->Backing() == node)) continue;
    const std::string device = node.device_name();
    return GenericError(StrCat("Node '", device.empty() ? node.name() : device,
                               "' is busy: node is used as backing hd of '", parent->name(), "'"));
  }
  return absl::OkStatus();
}

absl::Status CheckIsRootForJobs(const NodeView& node) {
  if (node.parents().empty() && !node.has_job_user()) return absl::OkStatus();
  return GenericError("Need a root block node");
}

}  // namespace millrace
