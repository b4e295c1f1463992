// The io_uring backend. Its class lives in uring_io.cc, the one file that includes liburing.h.
// Internal; not installed.
#ifndef MILLRACE_ENGINE_IO_URING_IO_H_
#define MILLRACE_ENGINE_IO_URING_IO_H_

#include <memory>

#include "absl/status/statusor.h"
#include "millrace/engine/io/io_backend.h"

namespace millrace {

// Unavailable, with the host's reason, where io_uring is refused (containers do) or too old.
absl::StatusOr<std::unique_ptr<IoBackend>> CreateUringIo(Scheduler& scheduler);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_URING_IO_H_
