// The system calls behind a request, in blocking form, for helper threads. Internal; not installed.
#ifndef MILLRACE_ENGINE_IO_BLOCKING_IO_H_
#define MILLRACE_ENGINE_IO_BLOCKING_IO_H_

#include <cstdint>

#include "millrace/engine/io/io_backend.h"

namespace millrace {

// Does what `request` asks for and returns what its `result` shall be.
// Reads go on until the buffers are full or the file ends, writes until everything is written.
// Any thread.
int64_t PerformBlocking(IoRequest& request);

// The rest of a read or write of which `done` bytes are through already.
int64_t ContinueBlocking(const IoRequest& request, uint64_t done);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_BLOCKING_IO_H_
