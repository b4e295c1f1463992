// The system calls behind a request, in blocking form, for helper threads. Internal; not installed.
#ifndef MILLRACE_ENGINE_IO_BLOCKING_IO_H_
#define MILLRACE_ENGINE_IO_BLOCKING_IO_H_

#include <cstdint>

#include "millrace/engine/io/io_backend.h"

namespace millrace {

// Does what `request` asks for and returns what its `result` shall be.
// Reads go on until the buffers are full or the file ends, writes until everything is written.
// The first `progress` bytes of a read or write count as moved. Any thread.
int64_t PerformBlocking(IoRequest& request);

// Whether the host does not do this to ranges of a file, not to this range, or not now: zeroes can
// be written all the same.
bool IsRangeRefused(int64_t result);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_BLOCKING_IO_H_
