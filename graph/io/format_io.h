// Operations on format nodes: what a format's answers mean. Internal; not installed.
#ifndef MILLRACE_GRAPH_IO_FORMAT_IO_H_
#define MILLRACE_GRAPH_IO_FORMAT_IO_H_

#include "absl/status/status.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/node.h"

namespace millrace {

absl::Status CoReadFormat(Node& node, FormatDriver& driver, uint64_t offset, const IoVector& target)
    MILLRACE_MAY_SUSPEND;
absl::Status CoWriteFormat(Node& node, FormatDriver& driver, uint64_t offset,
                           const IoVector& source, WriteFlags flags) MILLRACE_MAY_SUSPEND;
absl::Status CoWriteZeroesFormat(Node& node, FormatDriver& driver, ByteRange range, ZeroFlags flags)
    MILLRACE_MAY_SUSPEND;
absl::Status CoDiscardFormat(Node& node, FormatDriver& driver, ByteRange range)
    MILLRACE_MAY_SUSPEND;
// What is gained by growing reads as zeroes, also where a longer backing has something.
absl::Status CoResizeFormat(Node& node, FormatDriver& driver, uint64_t bytes) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IO_FORMAT_IO_H_
