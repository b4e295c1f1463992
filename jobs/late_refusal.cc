#include "millrace/jobs/late_refusal.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/graph/holder.h"

namespace millrace {
namespace {

constexpr absl::string_view kJobPayload = "millrace/late-refused-job";

}  // namespace

absl::Status AsLateRefusal(absl::Status status, const BlockJobProofs& proofs) {
  if (!status.ok() && !proofs.holder->id.empty()) {
    status.SetPayload(kJobPayload, absl::Cord(proofs.holder->id));
  }
  return status;
}

absl::Status AsLateIfOfPermissions(absl::Status status, const BlockJobProofs& proofs) {
  const std::optional<Conflict> conflict = ConflictOf(status);
  const bool is_late = conflict && conflict->reason == ConflictReason::kPermission;
  return is_late ? AsLateRefusal(std::move(status), proofs) : status;
}

std::optional<std::string> LateRefusedJob(const absl::Status& status) {
  const absl::optional<absl::Cord> id = status.GetPayload(kJobPayload);
  if (!id.has_value()) return std::nullopt;
  return std::string(*id);
}

}  // namespace millrace
