// SimulatedIo: I/O without a host. Every request waits in a list until the simulation takes it as a
// step; in which order, and how each ends, the Decider chooses.
#ifndef MILLRACE_ENGINE_IO_SIMULATED_IO_H_
#define MILLRACE_ENGINE_IO_SIMULATED_IO_H_

#include <cstddef>
#include <cstdint>

#include "millrace/engine/io/io_backend.h"
#include "millrace/engine/scheduler/scheduler.h"

namespace millrace {

class SimulatedIo final : public IoBackend, public StepSource {
 public:
  explicit SimulatedIo(Scheduler& scheduler);
  ~SimulatedIo() override;

  std::string_view name() const override { return "simulated"; }
  bool is_simulated() const override { return true; }
  void Submit(IoRequest& request) override;
  void Flush() override {}
  size_t Poll() override { return 0; }
  void Block(Nanoseconds) override {}
  void Interrupt() override {}
  int PollFd() const override { return -1; }
  size_t in_flight() const override { return pending_.size(); }
  absl::StatusOr<IoFile> CoOpen(const std::string& path, const OpenOptions& options) override
      MILLRACE_MAY_SUSPEND;
  absl::StatusOr<IoFile> Adopt(int descriptor) override;
  void CoClose(IoFile file) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<FileInfo> CoStat(IoFile file) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<FileExtent> CoFindExtent(IoFile file, uint64_t offset) override
      MILLRACE_MAY_SUSPEND;
  absl::Status LockBytes(IoFile file, absl::Span<const uint64_t> shared_bytes) override;
  void UnlockBytes(IoFile file, absl::Span<const uint64_t> bytes) override;
  absl::Status ProbeLocks(IoFile file, absl::Span<const uint64_t> bytes) override;

  size_t EnabledSteps() const override { return pending_.size(); }
  Option DescribeStep(size_t index) const override;
  void TakeStep(size_t index) override;

 private:
  Scheduler& scheduler_;
  IntrusiveList<IoRequest, &IoRequest::link> pending_;
  uint64_t next_ordinal_ = 1;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_SIMULATED_IO_H_
