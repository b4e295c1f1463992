// Host errors as absl::Status: a code with a fixed meaning, our text, and the errno as a payload.
#ifndef MILLRACE_ENGINE_IO_IO_ERROR_H_
#define MILLRACE_ENGINE_IO_IO_ERROR_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace millrace {

// `what` says what was attempted on which object: "read img-3.qcow2 at 65536". ENOSPC, EDQUOT,
// EFBIG and ENOMEM become ResourceExhausted; ENOENT NotFound; EEXIST AlreadyExists; EACCES, EPERM
// and EROFS PermissionDenied; ECANCELED Cancelled; the rest Unavailable.
absl::Status ErrnoStatus(int error_number, std::string_view what);

// The errno behind a status: from its payload, else the closest match of its code (EIO by default).
int ErrnoOf(const absl::Status& status);

// Whether the errno comes from a payload, not from a guess.
bool CarriesErrno(const absl::Status& status);

// The host's words for an errno: "Input/output error".
std::string ErrnoText(int error_number);

// Attaches an errno to a status made elsewhere.
absl::Status WithErrno(absl::Status status, int error_number);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_IO_ERROR_H_
