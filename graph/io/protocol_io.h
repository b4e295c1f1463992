// Operations on protocol nodes, with what their alignment demands. Internal; not installed.
//
// Callers may ask for any offset and length; a file opened with O_DIRECT takes only multiples of
// its alignment, from aligned memory. Reads bounce; unaligned writes read the blocks around them,
// and are serialised against each other by a range lock on the node, so that two writes into one
// block lose nothing. A file whose end is in the middle of a block keeps it there: what is written
// into its last, partial block is handed to the driver as it is, for a way of its own.
#ifndef MILLRACE_GRAPH_IO_PROTOCOL_IO_H_
#define MILLRACE_GRAPH_IO_PROTOCOL_IO_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/engine/io/io_buffer.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/node.h"

namespace millrace {

// Memory for surroundings and unaligned requests. ResourceExhausted if there is none.
absl::StatusOr<IoBuffer> TakeBounceBuffer(Node& node, uint64_t bytes);

absl::Status CoReadProtocol(Node& node, ProtocolDriver& driver, uint64_t offset,
                            const IoVector& target) MILLRACE_MAY_SUSPEND;
absl::Status CoWriteProtocol(Node& node, ProtocolDriver& driver, uint64_t offset,
                             const IoVector& source, WriteFlags flags) MILLRACE_MAY_SUSPEND;
// Several at once; what does not suit the alignment goes one by one.
absl::Status CoReadProtocolParts(Node& node, ProtocolDriver& driver, absl::Span<const IoPart> parts)
    MILLRACE_MAY_SUSPEND;
absl::Status CoWriteProtocolParts(Node& node, ProtocolDriver& driver,
                                  absl::Span<const IoPart> parts) MILLRACE_MAY_SUSPEND;
// As ProtocolDriver::CoShareFrom; unaligned writes nearby wait for each other and for it.
bool CoShareProtocol(Node& node, ProtocolDriver& driver, ProtocolDriver& source,
                     absl::Span<const FileShare> shares, ShareBy by) MILLRACE_MAY_SUSPEND;
absl::Status CoWriteZeroesProtocol(Node& node, ProtocolDriver& driver, ByteRange range,
                                   ZeroFlags flags) MILLRACE_MAY_SUSPEND;
absl::Status CoDiscardProtocol(Node& node, ProtocolDriver& driver, ByteRange range)
    MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IO_PROTOCOL_IO_H_
