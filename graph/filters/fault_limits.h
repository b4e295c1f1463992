// FaultLimits: what blkdebug pretends that its child can do: requests of whole blocks, of so many
// bytes at most. For tests of the layers above. Plain data; pure.
#ifndef MILLRACE_GRAPH_FILTERS_FAULT_LIMITS_H_
#define MILLRACE_GRAPH_FILTERS_FAULT_LIMITS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/base/byte_range.h"

namespace millrace {

// 0: no such limit.
struct FaultLimits {
  uint64_t align = 0;         // of reads and writes; a power of two
  uint64_t max_transfer = 0;  // of reads and writes
  // Zero writes and discards: less than the optimum is written as data, or not discarded.
  uint64_t opt_write_zero = 0;
  uint64_t max_write_zero = 0;
  uint64_t opt_discard = 0;
  uint64_t max_discard = 0;

  // InvalidArgument (kInvalidOption, detail "fault-limit NAME VALUE") for the first that does not
  // go with the others.
  absl::Status Validate() const;

  // The whole blocks around a range.
  ByteRange BlocksAround(ByteRange range) const;
};

// The range in parts of at most `most` bytes; whole if `most` is 0.
std::vector<ByteRange> SplitRange(ByteRange range, uint64_t most);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_FILTERS_FAULT_LIMITS_H_
