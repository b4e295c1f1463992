// What a job does when its I/O fails: the user's policy, and what follows from it for one error,
// as in QEMU.
#ifndef MILLRACE_ENGINE_JOB_ERROR_POLICY_H_
#define MILLRACE_ENGINE_JOB_ERROR_POLICY_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace millrace {

enum class OnError : uint8_t {
  kReport,  // fail with the error
  kIgnore,  // go on; what that means is the job type's business
  kStop,    // pause until the user resumes
  kEnospc,  // stop if there is no space left, else report
  kAuto,    // the same
};

enum class ErrorAction : uint8_t { kReport, kIgnore, kStop };

enum class IoOperation : uint8_t { kRead, kWrite };

// What a query shows of errors that stopped the job; sticky until the user resumes.
enum class JobIoStatus : uint8_t { kOk, kFailed, kNoSpace };

constexpr ErrorAction ErrorActionFor(OnError policy, bool is_out_of_space) {
  switch (policy) {
    case OnError::kReport:
      return ErrorAction::kReport;
    case OnError::kIgnore:
      return ErrorAction::kIgnore;
    case OnError::kStop:
      return ErrorAction::kStop;
    case OnError::kEnospc:
    case OnError::kAuto:
      break;
  }
  return is_out_of_space ? ErrorAction::kStop : ErrorAction::kReport;
}

// Whether the errno behind `status` is ENOSPC; a quota or a size limit is not.
bool IsOutOfSpace(const absl::Status& status);

// Wire names: "report", "ignore", "stop", "enospc", "auto"; "read", "write"; "ok", "failed",
// "nospace".
std::string_view OnErrorName(OnError policy);
std::string_view ErrorActionName(ErrorAction action);
std::string_view IoOperationName(IoOperation operation);
std::string_view JobIoStatusName(JobIoStatus status);

// What clients see as a job's error: the host's words alone ("Input/output error", "Operation
// canceled") for a status that carries an errno or is a cancellation, else the status's own text.
// Empty for success.
std::string JobErrorText(const absl::Status& status);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_JOB_ERROR_POLICY_H_
