// What the two commands that start a mirror have in common: blockdev-mirror, whose target is a
// node, and drive-mirror, which makes or opens its target itself.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_MIRROR_REQUEST_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_MIRROR_REQUEST_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/hypervisor/block/block_layer.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/jobs/mirror/mirror_job.h"

namespace millrace {

inline constexpr std::string_view kMirrorSyncNames[] = {"top", "full", "none", "incremental",
                                                        "bitmap"};
inline constexpr std::string_view kMirrorCopyModeNames[] = {"background", "write-blocking"};

// "Sync mode 'bitmap' not supported".
absl::StatusOr<MirrorSync> ReadMirrorSync(ArgumentReader& reader);
// The rest but source, target and sync.
absl::Status ReadMirrorOptions(ArgumentReader& reader, MirrorOptions* options);
// The declarations of what the two read.
void AppendMirrorArguments(std::vector<ArgumentSpec>* arguments);

// "Need a root block node".
absl::Status CheckMirrorSource(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW;
// The node that a mirror is to replace: that it is there, and nobody else's.
absl::Status CheckReplaced(const GraphReader& view, const std::string& name);
// Starts it, and notes its target for what may have to be said of it (JobNotes).
absl::Status CoStartNotedMirror(BlockLayer& layer, MirrorOptions options) MILLRACE_MAY_SUSPEND;
// What is looked at of its nodes before the job itself is.
absl::Status CheckMirrorNodes(const GraphReader& reader, const MirrorOptions& options);
// All that the mirror would be refused for, in QEMU's order; claims nothing.
absl::Status CheckMirror(BlockLayer& layer, const MirrorOptions& options) MILLRACE_OPENS_VIEW;

void RegisterDriveMirror(BlockLayer& layer);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_MIRROR_REQUEST_H_
