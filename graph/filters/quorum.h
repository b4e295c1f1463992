// quorum: several children that should all hold the same bytes, shown as one. A read asks all of
// them and returns what enough of them agree on; a write goes to all.
//
// It stands in the graph like a protocol: what is below it is its own business, so mappings and
// backing chains end here. Its children carry Role::kData and are named "children.0", "children.1",
// in the order in which they were linked; all must have the same size.
//
//   read, pattern quorum   all children at once; the version with the most votes wins if it has
//                          `vote_threshold` of them, else the read fails with EIO
//   read, pattern fifo     the first child that can be read
//   write, zeroes, flush   all children; succeeds if `vote_threshold` of them did
//
// A child that failed, or was outvoted, is reported; with `rewrite_corrupted` one that was outvoted
// is made right at once. A failed vote is reported too. (QEMU's quorum; discards go nowhere there,
// either.)
#ifndef MILLRACE_GRAPH_FILTERS_QUORUM_H_
#define MILLRACE_GRAPH_FILTERS_QUORUM_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/graph/driver.h"

namespace millrace {

enum class QuorumReadPattern : uint8_t { kQuorum, kFifo };

// Something a user of a quorum should hear of. (QUORUM_REPORT_BAD, QUORUM_FAILURE.)
struct QuorumReport {
  enum class Operation : uint8_t { kRead, kWrite, kFlush };
  std::string quorum;  // the node's name
  // The child that is bad; empty: the vote has failed.
  std::string child;
  Operation operation = Operation::kRead;
  ByteRange range;
  absl::Status error;  // OK if the child was outvoted
};

struct QuorumOptions {
  uint64_t vote_threshold = 0;  // 1 to the number of children
  QuorumReadPattern read_pattern = QuorumReadPattern::kQuorum;
  bool rewrite_corrupted = false;
  // Called in the middle of I/O; must not suspend. May be null.
  std::function<void(const QuorumReport&)> on_report{};
};

// Opening it is InvalidArgument if there are fewer children than votes needed, or none, or if a
// child is of another size than the first.
std::unique_ptr<ProtocolDriver> MakeQuorumDriver(QuorumOptions options);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_FILTERS_QUORUM_H_
