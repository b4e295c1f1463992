// The file driver: a protocol over a regular file or block device of the host.
//
// It opens a path, or takes over a descriptor that the embedder opened; buffered or O_DIRECT (then
// io_alignment() says what the host asks for, and the generic path bounces what does not fit). What
// lies behind the last whole block of a direct file cannot be written without making it longer: a
// write that fits into no blocks goes through the host's cache; one of these at a time, and nothing
// else in its pages meanwhile (graph/io/protocol_io.h).
// Holes are seen, zeroes and discards punch holes where the host can. The file keeps
// QEMU-compatible locks for what its node's parents may do (graph/io/image_locks.h), from the first
// change of permissions until it is closed.
//
// Errors carry the host's errno (engine/io/io_error.h). After a failed flush of a file that was
// written through the host's cache all later flushes fail too: the host may have dropped what it
// could not write.
#ifndef MILLRACE_GRAPH_DRIVERS_FILE_H_
#define MILLRACE_GRAPH_DRIVERS_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "millrace/engine/engine.h"
#include "millrace/graph/driver.h"

namespace millrace {

enum class FileLocking : uint8_t {
  kAutomatic,  // where the host can lock this file; else a warning, once
  kOn,         // refuse to go on where it cannot
  kOff,
};

struct FileOptions {
  std::string path{};
  // Used instead of opening `path` if not -1, and closed at the end, also after an error. Its
  // access mode must suit the node; `path` is then only the name in texts.
  int descriptor = -1;
  bool direct = false;  // O_DIRECT; for a descriptor, its own flag decides
  FileLocking locking = FileLocking::kAutomatic;
  // Not empty: the file must lie below this folder, symbolic links followed; an absolute path
  // without links itself. PermissionDenied otherwise. For names that came through the open gate.
  std::string open_root{};
};

std::unique_ptr<ProtocolDriver> MakeFileDriver(FileOptions options);

// Makes a file of that size, all holes. AlreadyExists if there is one. A file that could not be
// given its size is left behind, empty.
absl::Status CoCreateFile(Engine& engine, const std::string& path, uint64_t bytes)
    MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVERS_FILE_H_
