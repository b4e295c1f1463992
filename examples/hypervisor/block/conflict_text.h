// The one table that puts the library's refusals into QEMU's words. Whatever it does not know keeps
// the library's own text; the conflict itself goes beside it as data (qmp/qmp_error.h).
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_CONFLICT_TEXT_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_CONFLICT_TEXT_H_

#include <string>

#include "absl/status/status.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/conflict.h"

namespace millrace {

// QEMU's text for a conflict; empty if it has none.
std::string ConflictText(const Conflict& conflict);

// The reply for any failed status of the library.
QmpErrorReply RenderRefusal(const absl::Status& status);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_CONFLICT_TEXT_H_
