// Zeroes in a job's target, without a write where they are there already. Internal; not installed.
#ifndef MILLRACE_JOBS_COPY_ZERO_RANGE_H_
#define MILLRACE_JOBS_COPY_ZERO_RANGE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/attachment.h"

namespace millrace {

// How much is to be zeroed by one call, for others to get their turn.
inline constexpr uint64_t kZeroBytesMax = uint64_t{128} << 20;

struct ZeroedStart {
  uint64_t bytes = 0;          // of the range, from its start: zeroes now; at least 1
  uint64_t written_bytes = 0;  // of these: 0 if nothing had to be written
};

// Has the start of `range`, which is not empty, read as zeroes in all of the target's chain.
// `may_unmap`: as in ZeroFlags.
absl::StatusOr<ZeroedStart> CoZeroStart(Attachment& target, ByteRange range, bool may_unmap)
    MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_JOBS_COPY_ZERO_RANGE_H_
