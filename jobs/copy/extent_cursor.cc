#include "millrace/jobs/copy/extent_cursor.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/jobs/copy/copy_tuning.h"

namespace millrace {
namespace {

// Two slices of an L2 table with clusters of 64 KiB.
constexpr uint64_t kReachMin = uint64_t{64} << 20;
// Where an image that was empty so far begins to be fragmented, the answer has a run for each of
// its clusters: as many as 4 GiB have.
constexpr uint64_t kReachMax = uint64_t{4} << 30;
constexpr size_t kDullRunsMax = 2;

}  // namespace

std::optional<AllocationRun> ExtentCursor::Known(uint64_t offset) {
  while (next_ > 0 && offset < position_) position_ -= runs_[--next_].bytes;
  if (offset < position_) return std::nullopt;
  while (next_ < runs_.size() && offset >= position_ + runs_[next_].bytes) {
    position_ += runs_[next_++].bytes;
  }
  if (next_ == runs_.size()) return std::nullopt;
  AllocationRun run = runs_[next_];
  run.bytes -= offset - position_;
  return run;
}

absl::Status ExtentCursor::CoAsk(uint64_t offset, uint64_t end) {
  // Where little was to be told, more is asked for: a sparse image is not walked table by table.
  reach_ = std::exchange(was_dull_, false) ? std::min(reach_ * 2, kReachMax) : kReachMin;
  std::vector<AllocationRun> runs;
  MILLRACE_RETURN_IF_ERROR(reader_.CoAllocations(ByteRange(offset, std::min(reach_, end - offset)),
                                                 first_, last_, &runs));
  was_dull_ = runs.size() <= kDullRunsMax;
  runs_ = std::move(runs);
  next_ = 0;
  position_ = offset;
  return absl::OkStatus();
}

absl::StatusOr<AllocationRun> ExtentCursor::CoAt(uint64_t offset, uint64_t end, bool step_by_step) {
  if (MILLRACE_BUGGIFY("copy: asks again for what is known")) Forget();
  if (std::optional<AllocationRun> known = Known(offset); known && !step_by_step) return *known;
  if (!step_by_step && CoAsk(offset, end).ok()) return *Known(offset);
  // Asked step by step, an error is met at the place that it belongs to.
  return reader_.CoAllocation(ByteRange(offset, std::min(kCopyPieceBytesMax, end - offset)), first_,
                              last_);
}

}  // namespace millrace
