// -drive snapshot=on: a drive whose writes go to an image of their own, which has no name any more
// and is gone when it is closed.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SNAPSHOT_DRIVE_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SNAPSHOT_DRIVE_H_

#include <string>

#include "absl/status/statusor.h"
#include "examples/hypervisor/block/block_layer.h"

namespace millrace {

// Opens the tree read-only and puts the drive on a temporary qcow2 image above it, made in $TMPDIR
// or /var/tmp.
absl::StatusOr<Drive*> CoAddSnapshotDrive(BlockLayer& layer, const std::string& id, NodeTree tree)
    MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SNAPSHOT_DRIVE_H_
