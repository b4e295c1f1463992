// The one table that puts the library's refusals into QEMU's words, for the examples that show
// them. Whatever it does not know keeps the library's own text. Plain data; any thread.
#ifndef MILLRACE_EXAMPLES_COMMON_CONFLICT_TEXT_H_
#define MILLRACE_EXAMPLES_COMMON_CONFLICT_TEXT_H_

#include <string>

#include "millrace/engine/base/conflict.h"

namespace millrace {

// QEMU's text for a conflict; empty if it has none.
std::string ConflictText(const Conflict& conflict);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_COMMON_CONFLICT_TEXT_H_
