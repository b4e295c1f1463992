// The io_uring backend. Its class lives in uring_io.cc, the one file that includes liburing.h.
// Internal; not installed.
#ifndef MILLRACE_ENGINE_IO_URING_IO_H_
#define MILLRACE_ENGINE_IO_URING_IO_H_

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "millrace/engine/io/io_backend.h"

namespace millrace {

// Sets of flags for making a ring, the best first; the last asks for nothing.
inline constexpr size_t kUringFlagSets = 4;

// Unavailable, with the host's reason, where io_uring is refused (containers do) or too old.
// For tests: `first_set` is the set of flags that is tried first; a later one is what a ring gets
// on a kernel that does not know the flags of those before; `flags` is told which it got.
absl::StatusOr<std::unique_ptr<IoBackend>> CreateUringIo(Scheduler& scheduler, size_t first_set = 0,
                                                         unsigned* flags = nullptr);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_URING_IO_H_
