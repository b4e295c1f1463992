#include "millrace/engine/job/job_body.h"

#include "millrace/engine/base/text.h"

namespace millrace {

absl::Status JobBody::CheckChange(const JobChange& /*change*/) const {
  const ConflictHolder self = context_->holder();
  return ConflictStatus(absl::StatusCode::kFailedPrecondition,
                        {.reason = ConflictReason::kChangeUnsupported,
                         .object = self.id,
                         .holders = {self},
                         .next_step = "cancel it and create it anew with the options you want"},
                        StrCat("cannot change job '", self.id, "': a ", self.type,
                               " has no options that change; cancel it and create it anew"));
}

}  // namespace millrace
