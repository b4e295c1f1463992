// A qcow2 image in a file, opened by a real engine for one change.
#ifndef MILLRACE_TESTS_SUPPORT_OPEN_QCOW2_H_
#define MILLRACE_TESTS_SUPPORT_OPEN_QCOW2_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/permission.h"

namespace millrace {

// Opens the image with what it stands on, calls `body`, which may suspend, with an attachment that
// has these permissions, and closes all of it.
absl::Status WithQcow2(const std::string& path, Permissions permissions,
                       absl::FunctionRef<absl::Status(Attachment& user)> body);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_OPEN_QCOW2_H_
