// Where an NBD server listens: an address as QMP and the command line spell it, made into listening
// sockets.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_SOCKET_ADDRESS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_SOCKET_ADDRESS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/hypervisor/process/passed_descriptor.h"
#include "examples/hypervisor/process/unix_socket.h"
#include "examples/hypervisor/qmp/argument_reader.h"

namespace millrace {

struct SocketAddress {
  enum class Kind : uint8_t { kInet, kUnix, kVsock, kFd };
  Kind kind = Kind::kUnix;
  SocketPlace place;  // kUnix
  std::string host;   // kInet; kVsock: the cid
  std::string port;   // kInet, kVsock
  // kInet: further ports to try, up to this one; whether the host is a number; which families.
  std::optional<uint32_t> port_max;
  bool is_numeric = false;
  bool keeps_alive = false;
  std::optional<bool> ipv4;
  std::optional<bool> ipv6;
  std::string fd;                            // kFd: a number, or a name that a client has given it
  std::shared_ptr<PassedDescriptor> passed;  // what has that name; not of a number
};

// From {type, data: {..}} (QMP) or {type, ..} (the command line). Mistakes are told by the reader's
// Finish(). A descriptor's name is looked up by the caller.
SocketAddress ReadSocketAddress(ArgumentReader& address, bool is_nested);

// Listening sockets, not blocking; at least one. Errors in QEMU's words. Resolving a host name
// blocks.
absl::StatusOr<std::vector<int>> Listen(const SocketAddress& address);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_SOCKET_ADDRESS_H_
