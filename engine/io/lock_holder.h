// Who holds a lock on a file of the host. Internal; not installed.
//
// The kernel does not name the owner of an open-file-description lock; /proc/PID/fdinfo does, for
// processes that we may look at. Only the path of a refused lock comes here, and the search is
// bounded. Nothing here touches the file itself, so a hung file system cannot hang it.
#ifndef MILLRACE_ENGINE_IO_LOCK_HOLDER_H_
#define MILLRACE_ENGINE_IO_LOCK_HOLDER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "millrace/engine/base/conflict.h"

namespace millrace {

// Type "process", or "this process"; its id; as its program ("qemu-system-x86"), if that is known.
ConflictHolder ProcessHolder(int pid);

// The first process found that holds a lock on `byte` of the file behind `descriptor`, through
// another open of it; nothing if none may be seen.
std::optional<ConflictHolder> FindLockHolder(int descriptor, uint64_t byte);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_LOCK_HOLDER_H_
