// Who holds a lock on a file of the host, in words for an error text. Internal; not installed.
//
// The kernel does not name the owner of an open-file-description lock; /proc/PID/fdinfo does, for
// processes that we may look at. Only the path of a refused lock comes here, and the search is
// bounded. Nothing here touches the file itself, so a hung file system cannot hang it.
#ifndef MILLRACE_ENGINE_IO_LOCK_HOLDER_H_
#define MILLRACE_ENGINE_IO_LOCK_HOLDER_H_

#include <cstdint>
#include <string>

namespace millrace {

// "process 4711 (qemu-system-x86)".
std::string DescribeProcess(int pid);

// The first process found that holds a lock on `byte` of the file behind `descriptor`, through
// another open of it; empty if none may be seen.
std::string FindLockHolder(int descriptor, uint64_t byte);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_LOCK_HOLDER_H_
