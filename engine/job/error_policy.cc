#include "millrace/engine/job/error_policy.h"

#include <cerrno>

#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"

namespace millrace {

bool IsOutOfSpace(const absl::Status& status) { return !status.ok() && ErrnoOf(status) == ENOSPC; }

std::string_view OnErrorName(OnError policy) {
  switch (policy) {
    case OnError::kReport:
      return "report";
    case OnError::kIgnore:
      return "ignore";
    case OnError::kStop:
      return "stop";
    case OnError::kEnospc:
      return "enospc";
    case OnError::kAuto:
      return "auto";
  }
  return "unknown";
}

std::string_view ErrorActionName(ErrorAction action) {
  switch (action) {
    case ErrorAction::kReport:
      return "report";
    case ErrorAction::kIgnore:
      return "ignore";
    case ErrorAction::kStop:
      return "stop";
  }
  return "unknown";
}

std::string_view IoOperationName(IoOperation operation) {
  return operation == IoOperation::kRead ? "read" : "write";
}

std::string_view JobIoStatusName(JobIoStatus status) {
  switch (status) {
    case JobIoStatus::kOk:
      return "ok";
    case JobIoStatus::kFailed:
      return "failed";
    case JobIoStatus::kNoSpace:
      return "nospace";
  }
  return "unknown";
}

std::string JobErrorText(const absl::Status& status) {
  if (status.ok()) return {};
  if (CarriesErrno(status) || absl::IsCancelled(status)) return ErrnoText(ErrnoOf(status));
  return std::string(FromAbsl(status.message()));
}

}  // namespace millrace
