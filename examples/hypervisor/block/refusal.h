// How refusals of the library are told to a QMP client: in QEMU's words where it has some
// (examples/common/conflict_text.h); the conflict itself goes beside them as data
// (qmp/qmp_error.h).
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_REFUSAL_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_REFUSAL_H_

#include <string_view>

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

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_REFUSAL_H_
