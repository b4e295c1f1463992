// Inflating compressed clusters. Internal; not installed.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_DECOMPRESS_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_DECOMPRESS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace millrace::qcow2 {

// Inflates the stream at the start of `source` (what follows it is ignored) into `target`, all of
// which must be filled. `compression_type` as in the header: 0 zlib (raw deflate), 1 zstd. Memory
// is bounded by the size of `target`. DataLoss if the stream is broken, too short or too long.
absl::Status Decompress(uint8_t compression_type, absl::Span<const uint8_t> source,
                        absl::Span<uint8_t> target);

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_DECOMPRESS_H_
