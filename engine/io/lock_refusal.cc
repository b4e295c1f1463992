#include "millrace/engine/io/lock_refusal.h"

#include <cerrno>

#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"

namespace millrace {

std::string DescribeLockHolder(const ConflictHolder& holder) {
  std::string text = holder.type;
  if (holder.type == "process") StrAppend(&text, " ", holder.id);
  if (holder.type == "simulated") text = holder.id;
  if (!holder.as.empty()) StrAppend(&text, " (", holder.as, ")");
  return text;
}

absl::Status LockByteRefused(uint64_t byte, const std::optional<ConflictHolder>& holder) {
  Conflict conflict;
  conflict.reason = ConflictReason::kImageLocked;
  conflict.object = StrCat("byte ", byte);
  conflict.next_step = "close the file there first";
  std::string text = StrCat("lock byte ", byte, ": another open of this file holds it");
  if (holder) {
    conflict.holders.push_back(*holder);
    StrAppend(&text, " (", DescribeLockHolder(*holder), ")");
  }
  return WithErrno(RefusalStatus(absl::StatusCode::kFailedPrecondition, conflict, text), EAGAIN);
}

}  // namespace millrace
