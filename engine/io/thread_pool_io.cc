#include "millrace/engine/io/thread_pool_io.h"

#include "millrace/engine/base/status_macros.h"

namespace millrace {

absl::StatusOr<std::unique_ptr<IoBackend>> ThreadPoolIo::Create(Scheduler& scheduler) {
  std::unique_ptr<ThreadPoolIo> backend(new ThreadPoolIo(scheduler));
  MILLRACE_RETURN_IF_ERROR(backend->Open());
  return backend;
}

void ThreadPoolIo::Submit(IoRequest& request) {
  OnSubmitted();
  request.progress = 0;
  if (request.opcode == IoOpcode::kMemory) return SubmitToSelf(request);
  SubmitToHelpers(request);
}

size_t ThreadPoolIo::Poll() {
  wake_.Clear();
  return PollHelpers();
}

}  // namespace millrace
