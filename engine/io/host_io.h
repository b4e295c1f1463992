// HostIo: what the two real backends have in common: files, locks, helper threads and the bell that
// ends a wait. Internal; not installed.
#ifndef MILLRACE_ENGINE_IO_HOST_IO_H_
#define MILLRACE_ENGINE_IO_HOST_IO_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "millrace/engine/io/helper_threads.h"
#include "millrace/engine/io/host_locks.h"
#include "millrace/engine/io/io_backend.h"
#include "millrace/engine/io/wake_event.h"
#include "millrace/engine/scheduler/scheduler.h"

namespace millrace {

class HostIo : public IoBackend {
 public:
  ~HostIo() override;

  void Interrupt() override { wake_.Ring(); }
  size_t in_flight() const override { return in_flight_; }
  bool has_news() const override { return wake_.is_rung(); }
  absl::StatusOr<IoFile> CoOpen(const std::string& path, const OpenOptions& options) override
      MILLRACE_MAY_SUSPEND;
  absl::StatusOr<OpenedIoFile> CoOpenAndStat(const std::string& path,
                                             const OpenOptions& options) override
      MILLRACE_MAY_SUSPEND;
  absl::StatusOr<IoFile> Adopt(int descriptor) override;
  void CoClose(IoFile file) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<FileInfo> CoStat(IoFile file) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<FileExtent> CoFindExtent(IoFile file, uint64_t offset) override
      MILLRACE_MAY_SUSPEND;
  int64_t CoCloneRange(IoFile source, uint64_t source_offset, IoFile target, uint64_t target_offset,
                       uint64_t bytes) override MILLRACE_MAY_SUSPEND;
  void CoStartWriteback(IoFile file, absl::Span<const ByteRange> ranges) override
      MILLRACE_MAY_SUSPEND;
  absl::Status LockBytes(IoFile file, absl::Span<const uint64_t> shared_bytes) override;
  void UnlockBytes(IoFile file, absl::Span<const uint64_t> bytes) override;
  absl::Status CheckLockBytes(IoFile file, absl::Span<const uint64_t> shared_bytes) override;
  absl::Status ProbeLocks(IoFile file, absl::Span<const uint64_t> bytes) override;

 protected:
  HostIo(Scheduler& scheduler, size_t threads_max);
  // Opens the bell. Unavailable if the host has no descriptor left.
  absl::Status Open() { return wake_.Open(); }

  // Every submitted request is counted here once, and completed here once.
  void OnSubmitted() {
    ++in_flight_;
    scheduler_.AddPendingExternal(1);
  }
  void Complete(IoRequest& request);
  // A request for a helper thread; FlushHelpers() hands them over together.
  void SubmitToHelpers(IoRequest& request) { for_helpers_.PushBack(request); }
  void FlushHelpers() { helpers_.Start(for_helpers_); }
  // A request that the home thread performs itself (kMemory), at the next PollHelpers().
  void SubmitToSelf(IoRequest& request);
  // Completes what helper threads and the home thread have done; returns how many.
  size_t PollHelpers();
  // Runs `function` on a helper thread while the calling coroutine waits.
  void CoCall(std::string_view label, absl::FunctionRef<void()> function) MILLRACE_MAY_SUSPEND;

  Scheduler& scheduler_;
  WakeEvent wake_;

 private:
  HelperThreads helpers_;
  HostLocks locks_;
  IoRequestList for_helpers_;
  IoRequestList for_self_;
  IoRequestList done_;
  size_t in_flight_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_HOST_IO_H_
