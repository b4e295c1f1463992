// CopyTuning: how much a copying job has in flight.
#ifndef MILLRACE_JOBS_COPY_COPY_TUNING_H_
#define MILLRACE_JOBS_COPY_COPY_TUNING_H_

#include <cstddef>
#include <cstdint>

#include "millrace/engine/scheduler/clock.h"

namespace millrace {

// What a job does when nothing makes it do less. Four requests of 1 MiB fill a fast device; more
// keep it full while others of the same job wait for metadata.
struct CopyTuning {
  size_t batches_max = 8;                    // at least 1
  uint64_t batch_bytes = uint64_t{1} << 20;  // of pieces that travel together
  // What the job takes care not to make the 99th percentile of guests' reads and writes exceed; 0:
  // it takes care of their mean instead (GuestWatch).
  Nanoseconds latency_target = 0;
  // Beside guests, so much is written at most before it is flushed. Many devices serve nobody while
  // they flush: all of it at the end would be one long wait.
  uint64_t flush_bytes = uint64_t{8} << 20;
};

// One step of QEMU's stream and commit: no piece is longer. Progress, error offsets and the speed
// limit's overshoot follow it.
inline constexpr uint64_t kCopyPieceBytesMax = 512 * 1024;

// How far a batch may reach: its target's clusters are held from its first piece to its last.
inline constexpr uint64_t kBatchSpanMax = uint64_t{32} << 20;

// After an error that is ignored: it is not tried again at once.
inline constexpr Nanoseconds kErrorBackOff = 100 * kMillisecond;
// How long a job that may never have to wait goes on before others get their turn.
inline constexpr Nanoseconds kScanSlice = 100 * kMillisecond;

}  // namespace millrace

#endif  // MILLRACE_JOBS_COPY_COPY_TUNING_H_
