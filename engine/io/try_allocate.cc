#include "millrace/engine/io/try_allocate.h"

#include <cerrno>

#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/scheduler/scheduler.h"

namespace millrace {

absl::Status AskForMemory(Scheduler& scheduler, size_t bytes, std::string_view label) {
  if (scheduler.decider() == nullptr) return absl::OkStatus();
  const Option options[] = {{0, label, "memory"}, {0, label, "no memory"}};
  if (scheduler.Choose(ChoiceKind::kFault, options) == 0) return absl::OkStatus();
  return OutOfMemory(bytes, label);
}

absl::Status OutOfMemory(size_t bytes, std::string_view label) {
  return WithErrno(absl::ResourceExhaustedError(
                       StrCat("allocate ", bytes, " bytes for ", label,
                              ": out of memory; let other work finish first, or ask for less")),
                   ENOMEM);
}

}  // namespace millrace
