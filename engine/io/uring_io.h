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
// `first_set`: which set of flags is tried first, for tests; a later one is what a ring gets on a
// kernel that does not know the flags of those before.
absl::StatusOr<std::unique_ptr<IoBackend>> CreateUringIo(Scheduler& scheduler,
                                                         size_t first_set = 0);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_URING_IO_H_
