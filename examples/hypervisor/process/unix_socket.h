// Unix sockets, with QEMU's texts for what fails. Descriptors are close-on-exec and belong to the
// caller.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_UNIX_SOCKET_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_UNIX_SOCKET_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace millrace {

// A listening socket, in place of a stale one of that name. "Failed to bind socket to PATH: ..".
absl::StatusOr<int> ListenAt(const std::string& path);
// "Failed to connect to 'PATH': ..".
absl::StatusOr<int> ConnectTo(const std::string& path);
// Checks an inherited descriptor, "File descriptor 'N' is not a socket", and makes it
// close-on-exec.
absl::Status AdoptSocket(int fd);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_UNIX_SOCKET_H_
