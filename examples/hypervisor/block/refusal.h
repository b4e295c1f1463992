// How refusals of the library are told to a QMP client: in QEMU's words where it has some
// (examples/common/conflict_text.h); the conflict itself goes beside them as data
// (qmp/qmp_error.h).
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_REFUSAL_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_REFUSAL_H_

#include "absl/status/status.h"
#include "examples/hypervisor/qmp/qmp_error.h"

namespace millrace {

// The reply for any failed status of the library.
QmpErrorReply RenderRefusal(const absl::Status& status);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_REFUSAL_H_
