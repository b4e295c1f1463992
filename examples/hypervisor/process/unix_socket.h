// Unix sockets, with QEMU's texts for what fails. Descriptors are close-on-exec and belong to the
// caller.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_UNIX_SOCKET_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_UNIX_SOCKET_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace millrace {

// Where a socket is found: a file, or a name in Linux' abstract namespace, which is no file and
// goes with the last who has it open.
struct SocketPlace {
  std::string path;
  bool is_abstract = false;
  // An abstract name ends with its last character; else it is filled up with zeroes, as old clients
  // have it.
  bool is_tight = true;
};

// A listening socket, in place of a stale one of that name. "Failed to bind socket to PATH: ..".
absl::StatusOr<int> ListenAt(const SocketPlace& place);
// What it would say of the place before the host is asked.
absl::Status CheckPlace(const SocketPlace& place);
// "Failed to connect to 'PATH': ..".
absl::StatusOr<int> ConnectTo(const SocketPlace& place);
// Checks a descriptor that was handed to the program, "File descriptor 'NAME' is not a socket", and
// makes it close-on-exec.
absl::Status AdoptSocket(int fd, std::string_view name);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_UNIX_SOCKET_H_
