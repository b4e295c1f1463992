#include "millrace/engine/io/io_backend.h"
#include "millrace/engine/io/thread_pool_io.h"
#include "millrace/engine/io/uring_io.h"

namespace millrace {

absl::StatusOr<std::unique_ptr<IoBackend>> CreateIoBackend(IoBackendKind kind,
                                                           Scheduler& scheduler) {
  if (kind == IoBackendKind::kThreads) return ThreadPoolIo::Create(scheduler);
  absl::StatusOr<std::unique_ptr<IoBackend>> ring = CreateUringIo(scheduler);
  if (ring.ok() || kind == IoBackendKind::kIoUring) return ring;
  return ThreadPoolIo::Create(scheduler);
}

}  // namespace millrace
