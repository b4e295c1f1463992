#include "millrace/engine/io/simulated_io.h"

#include <cerrno>

namespace millrace {

SimulatedIo::SimulatedIo(Scheduler& scheduler) : scheduler_(scheduler) {
  scheduler_.AddStepSource(this);
}

SimulatedIo::~SimulatedIo() { scheduler_.RemoveStepSource(this); }

void SimulatedIo::Submit(IoRequest& request) {
  request.ordinal = next_ordinal_++;
  pending_.PushBack(request);
}

Option SimulatedIo::DescribeStep(size_t index) const {
  const IoRequest* request = pending_.At(index);
  return {(uint64_t{1} << 32) + request->ordinal, request->label, "io"};
}

void SimulatedIo::TakeStep(size_t index) {
  IoRequest* request = pending_.At(index);
  pending_.Remove(*request);
  const Option outcomes[] = {{request->ordinal, request->label, "ok"},
                             {request->ordinal, request->label, "error before effect"},
                             {request->ordinal, request->label, "error after effect"}};
  const size_t outcome = scheduler_.Choose(ChoiceKind::kOutcome, outcomes);
  request->result = 0;
  if (outcome != 1 && request->apply != nullptr) request->apply(*request);
  if (outcome != 0) request->result = -EIO;
  request->on_done(*request);
}

absl::StatusOr<IoFile> SimulatedIo::CoOpen(const std::string&, const OpenOptions&) {
  return absl::UnimplementedError("simulated files");
}
absl::StatusOr<IoFile> SimulatedIo::Adopt(int) {
  return absl::InvalidArgumentError("a simulated engine takes no descriptors of the host");
}
void SimulatedIo::CoClose(IoFile) {}
absl::StatusOr<FileInfo> SimulatedIo::CoStat(IoFile) {
  return absl::UnimplementedError("simulated files");
}
absl::StatusOr<FileExtent> SimulatedIo::CoFindExtent(IoFile, uint64_t) {
  return absl::UnimplementedError("simulated files");
}
absl::Status SimulatedIo::LockBytes(IoFile, absl::Span<const uint64_t>) { return absl::OkStatus(); }
void SimulatedIo::UnlockBytes(IoFile, absl::Span<const uint64_t>) {}
absl::Status SimulatedIo::ProbeLocks(IoFile, absl::Span<const uint64_t>) {
  return absl::OkStatus();
}

}  // namespace millrace
