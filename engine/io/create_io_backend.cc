#include "millrace/engine/io/io_backend.h"
#include "millrace/engine/io/thread_pool_io.h"

namespace millrace {

absl::StatusOr<std::unique_ptr<IoBackend>> CreateIoBackend(IoBackendKind kind,
                                                           Scheduler& scheduler) {
  if (kind == IoBackendKind::kIoUring) {
    return absl::UnavailableError("io_uring is not built in; use the automatic choice or threads");
  }
  return ThreadPoolIo::Create(scheduler);
}

}  // namespace millrace
