// What the commands that start jobs mean: arguments, checked already by their declaration, become a
// job's options. Everything that can be refused without claiming anything has been refused then, in
// QEMU's order and words. Suspend nowhere, change nothing.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_REQUESTS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_REQUESTS_H_

#include "absl/status/statusor.h"
#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/qmp/json.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/mirror/mirror_job.h"
#include "millrace/jobs/stream/stream_job.h"

namespace millrace {

absl::StatusOr<StreamOptions> ResolveBlockStream(BlockLayer& layer, const json::object& arguments)
    MILLRACE_OPENS_VIEW;
// What refused a stream: if it is in the way of the job's filter, in the words in which QEMU tells
// of the filter.
absl::Status AsStreamRefusal(const absl::Status& status);
absl::StatusOr<CommitOptions> ResolveBlockCommit(BlockLayer& layer, const json::object& arguments)
    MILLRACE_OPENS_VIEW;
absl::StatusOr<MirrorOptions> ResolveBlockdevMirror(BlockLayer& layer,
                                                    const json::object& arguments)
    MILLRACE_OPENS_VIEW;

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_REQUESTS_H_
