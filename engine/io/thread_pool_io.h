// ThreadPoolIo: the backend for hosts that refuse io_uring, as containers do. Every request is a
// blocking system call on one of a few threads; results come back through a queue and an eventfd.
// Internal; not installed.
#ifndef MILLRACE_ENGINE_IO_THREAD_POOL_IO_H_
#define MILLRACE_ENGINE_IO_THREAD_POOL_IO_H_

#include <memory>

#include "millrace/engine/io/host_io.h"

namespace millrace {

class ThreadPoolIo final : public HostIo {
 public:
  static constexpr size_t kThreadsMax = 16;

  // Unavailable if the host has no descriptor left.
  static absl::StatusOr<std::unique_ptr<IoBackend>> Create(Scheduler& scheduler);

  std::string_view name() const override { return "threads"; }
  void Submit(IoRequest& request) override;
  void Flush() override { FlushHelpers(); }
  size_t Poll() override;
  void Block(Nanoseconds timeout) override { wake_.Wait(timeout); }
  int PollFd() override { return wake_.descriptor(); }

 private:
  explicit ThreadPoolIo(Scheduler& scheduler) : HostIo(scheduler, kThreadsMax) {}
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_THREAD_POOL_IO_H_
