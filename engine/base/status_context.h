// Saying more about an error on its way up without losing what it carries.
#ifndef MILLRACE_ENGINE_BASE_STATUS_CONTEXT_H_
#define MILLRACE_ENGINE_BASE_STATUS_CONTEXT_H_

#include <string_view>

#include "absl/status/status.h"

namespace millrace {

// The status with `context` in front of its text: the same code, the same payloads (a Conflict, an
// errno). Any thread.
//
//   return WithContext(status, StrCat("image '", file.name(), "': "));
absl::Status WithContext(const absl::Status& status, std::string_view context);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_BASE_STATUS_CONTEXT_H_
