// How refusals of the library are told to a QMP client: in QEMU's words where it has some
// (examples/common/conflict_text.h); the conflict itself goes beside them as data
// (qmp/qmp_error.h).
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_REFUSAL_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_REFUSAL_H_

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/conflict.h"

namespace millrace {

// The reply for any failed status of the library.
QmpErrorReply RenderRefusal(const absl::Status& status);

// A refusal of this side, in QEMU's words (a GenericError), with a conflict for `data` like those
// of the library.
absl::Status Refuse(const Conflict& conflict, std::string_view text);
absl::Status Refuse(ConflictReason reason, std::string_view object, std::string_view text,
                    std::string_view next_step);
// For what holders are in the way of: what to do next is to wait for the first, if it is a job, or
// to take it away.
absl::Status RefuseForHolders(ConflictReason reason, std::string_view object,
                              std::vector<ConflictHolder> holders, std::string_view text);
// "Failed to find node with node-name='x'", and the like: no node has the name.
absl::Status RefuseUnknownNode(std::string_view name, std::string_view text);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_REFUSAL_H_
