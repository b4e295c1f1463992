// What a backend answers when somebody else holds a lock. Internal; not installed.
#ifndef MILLRACE_ENGINE_IO_LOCK_REFUSAL_H_
#define MILLRACE_ENGINE_IO_LOCK_REFUSAL_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "millrace/engine/base/conflict.h"

namespace millrace {

// "process 4711 (qemu-system-x86)", "this process (millraced)"; of a simulated holder its id.
std::string DescribeLockHolder(const ConflictHolder& holder);

// FailedPrecondition (kImageLocked, object "byte 201") with EAGAIN; the holder where it is known.
absl::Status LockByteRefused(uint64_t byte, const std::optional<ConflictHolder>& holder);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_LOCK_REFUSAL_H_
