#include "millrace/engine/io/io_error.h"

#include <cerrno>
#include <cstring>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr char kErrnoPayload[] = "millrace/errno";

absl::StatusCode CodeOf(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case ENOMEM:
      return absl::StatusCode::kResourceExhausted;
    case ENOENT:
      return absl::StatusCode::kNotFound;
    case EEXIST:
      return absl::StatusCode::kAlreadyExists;
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::StatusCode::kPermissionDenied;
    case ECANCELED:
      return absl::StatusCode::kCancelled;
    case EINVAL:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

}  // namespace

absl::Status WithErrno(absl::Status status, int error_number) {
  if (!status.ok()) status.SetPayload(kErrnoPayload, absl::Cord(StrCat(error_number)));
  return status;
}

std::string ErrnoText(int error_number) {
  // GNU strerror_r returns the text, thread-safely.
  char buffer[128];
  return strerror_r(error_number, buffer, sizeof(buffer));
}

bool CarriesErrno(const absl::Status& status) {
  return status.GetPayload(kErrnoPayload).has_value();
}

absl::Status ErrnoStatus(int error_number, std::string_view what) {
  return WithErrno(absl::Status(CodeOf(error_number), StrCat(what, ": ", ErrnoText(error_number))),
                   error_number);
}

int ErrnoOf(const absl::Status& status) {
  if (absl::optional<absl::Cord> payload = status.GetPayload(kErrnoPayload)) {
    int error_number = 0;
    if (absl::SimpleAtoi(std::string(*payload), &error_number)) return error_number;
  }
  switch (status.code()) {
    case absl::StatusCode::kResourceExhausted:
      return ENOSPC;
    case absl::StatusCode::kNotFound:
      return ENOENT;
    case absl::StatusCode::kAlreadyExists:
      return EEXIST;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kFailedPrecondition:
      return EPERM;
    case absl::StatusCode::kInvalidArgument:
      return EINVAL;
    case absl::StatusCode::kCancelled:
      return ECANCELED;
    case absl::StatusCode::kUnimplemented:
      return ENOTSUP;
    default:
      return EIO;
  }
}

}  // namespace millrace
