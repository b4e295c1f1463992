#include "examples/hypervisor/nbd/socket_address.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>  // after sys/socket.h, which it needs

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "absl/strings/numbers.h"
#include "examples/hypervisor/process/unix_socket.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kKinds[] = {"inet", "unix", "vsock", "fd"};

void ReadInet(ArgumentReader& data, SocketAddress* address) {
  address->host = data.String("host");
  address->port = data.String("port");
  address->is_numeric = data.OptionalBool("numeric").value_or(false);
  const std::optional<uint32_t> port_max = data.OptionalUint32("to");
  if (port_max.has_value() && *port_max > 65535) {
    data.Fail(GenericError("Parameter 'to' expects uint16_t"));
  }
  address->port_max = port_max;
  address->ipv4 = data.OptionalBool("ipv4");
  address->ipv6 = data.OptionalBool("ipv6");
  address->keeps_alive = data.OptionalBool("keep-alive").value_or(false);
  data.OptionalBool("mptcp");
}

void ReadData(ArgumentReader& data, SocketAddress* address) {
  switch (address->kind) {
    case SocketAddress::Kind::kInet:
      return ReadInet(data, address);
    case SocketAddress::Kind::kUnix:
      address->place.path = data.String("path");
      address->place.is_abstract = data.OptionalBool("abstract").value_or(false);
      address->place.is_tight = data.OptionalBool("tight").value_or(true);
      return;
    case SocketAddress::Kind::kVsock:
      address->host = data.String("cid");
      address->port = data.String("port");
      return;
    case SocketAddress::Kind::kFd:
      address->fd = data.String("str");
      return;
  }
}

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::StatusOr<AddressList> ResolveAddress(const SocketAddress& address) {
  addrinfo hints = {};
  hints.ai_flags = AI_PASSIVE | (address.is_numeric ? AI_NUMERICHOST : 0);
  hints.ai_socktype = SOCK_STREAM;
  const bool wants_ipv4 = address.ipv4.value_or(!address.ipv6.value_or(false));
  const bool wants_ipv6 = address.ipv6.value_or(!address.ipv4.value_or(false));
  if (!wants_ipv4 && !wants_ipv6) {
    return GenericError("Cannot disable IPv4 and IPv6 at same time");
  }
  if (wants_ipv4 != wants_ipv6) hints.ai_family = wants_ipv4 ? AF_INET : AF_INET6;
  addrinfo* found = nullptr;
  const char* const host = address.host.empty() ? nullptr : address.host.c_str();
  const int error = getaddrinfo(host, address.port.c_str(), &hints, &found);
  if (error != 0) {
    return GenericError(StrCat("address resolution failed for ", address.host, ":", address.port,
                               ": ", gai_strerror(error)));
  }
  return AddressList(found, &freeaddrinfo);
}

void SetPort(sockaddr* where, uint16_t port) {
  if (where->sa_family == AF_INET) {
    reinterpret_cast<sockaddr_in*>(where)->sin_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in6*>(where)->sin6_port = htons(port);
  }
}

uint16_t PortOf(const sockaddr* where) {
  return ntohs(where->sa_family == AF_INET
                   ? reinterpret_cast<const sockaddr_in*>(where)->sin_port
                   : reinterpret_cast<const sockaddr_in6*>(where)->sin6_port);
}

// A descriptor, or -errno.
int ListenAtInet(const addrinfo& where) {
  const int fd = socket(where.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  // IPv4 has a socket of its own.
  if (where.ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  if (bind(fd, where.ai_addr, where.ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0) return fd;
  const int error = errno;
  close(fd);
  return -error;
}

absl::StatusOr<std::vector<int>> ListenInet(const SocketAddress& address) {
  MILLRACE_ASSIGN_OR_RETURN(const AddressList found, ResolveAddress(address));
  std::vector<int> sockets;
  int error = EADDRNOTAVAIL;
  for (addrinfo* each = found.get(); each != nullptr; each = each->ai_next) {
    const uint32_t first = PortOf(each->ai_addr);
    const uint32_t last = std::max(address.port_max.value_or(first), first);
    for (uint32_t port = first; port <= last; ++port) {
      SetPort(each->ai_addr, static_cast<uint16_t>(port));
      const int fd = ListenAtInet(*each);
      if (fd >= 0) {
        sockets.push_back(fd);
        break;
      }
      error = -fd;
      if (error != EADDRINUSE) break;
    }
  }
  if (!sockets.empty()) return sockets;
  return GenericError(StrCat("Failed to find an available port: ", std::strerror(error)));
}

absl::StatusOr<uint32_t> ParseUint32(const std::string& text, std::string_view what) {
  uint32_t value = 0;
  if (absl::SimpleAtoi(text, &value)) return value;
  return GenericError(StrCat("Failed to parse ", what, " '", text, "'"));
}

absl::StatusOr<std::vector<int>> ListenVsock(const SocketAddress& address) {
  sockaddr_vm where = {};
  where.svm_family = AF_VSOCK;
  MILLRACE_ASSIGN_OR_RETURN(where.svm_cid, ParseUint32(address.host, "cid"));
  MILLRACE_ASSIGN_OR_RETURN(where.svm_port, ParseUint32(address.port, "port"));
  const int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return GenericError(StrCat("Failed to create socket: ", std::strerror(errno)));
  const bool is_bound = bind(fd, reinterpret_cast<const sockaddr*>(&where), sizeof(where)) == 0;
  if (is_bound && listen(fd, SOMAXCONN) == 0) return std::vector<int>{fd};
  const int error = errno;
  close(fd);
  return GenericError(StrCat("Failed to ", is_bound ? "listen on socket" : "bind socket", ": ",
                             std::strerror(error)));
}

absl::StatusOr<int> ParseFdNumber(const std::string& text) {
  int fd = -1;
  if (absl::SimpleAtoi(text, &fd)) return fd;
  return GenericError(StrCat("Unable to parse FD number ", text, ": Invalid argument"));
}

absl::StatusOr<std::vector<int>> ListenFd(const SocketAddress& address) {
  PassedDescriptor passed;  // closed if it is no good
  if (address.passed != nullptr) {
    passed = std::move(*address.passed);
    MILLRACE_RETURN_IF_ERROR(AdoptSocket(passed.get(), address.fd));
  }
  int fd = passed.get();
  if (!passed.is_valid()) {
    MILLRACE_ASSIGN_OR_RETURN(fd, ParseFdNumber(address.fd));
    MILLRACE_RETURN_IF_ERROR(AdoptSocket(fd, address.fd));
  }
  // It may be bound only.
  if (listen(fd, SOMAXCONN) < 0) {
    return GenericError(StrCat("Failed to listen on fd socket: ", std::strerror(errno)));
  }
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  passed.Take();
  return std::vector<int>{fd};
}

}  // namespace

SocketAddress ReadSocketAddress(ArgumentReader& address, bool is_nested) {
  SocketAddress read;
  read.kind = static_cast<SocketAddress::Kind>(address.Enum("type", kKinds));
  if (!is_nested) {
    ReadData(address, &read);
    return read;
  }
  std::optional<ArgumentReader> data = address.OptionalObject("data");
  if (data.has_value()) {
    ReadData(*data, &read);
    data->Finish().IgnoreError();  // shared with its parent
  } else {
    address.Fail(GenericError("Parameter 'addr.data' is missing"));
  }
  return read;
}

absl::StatusOr<std::vector<int>> Listen(const SocketAddress& address) {
  switch (address.kind) {
    case SocketAddress::Kind::kUnix: {
      MILLRACE_ASSIGN_OR_RETURN(const int fd, ListenAt(address.place));
      fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
      return std::vector<int>{fd};
    }
    case SocketAddress::Kind::kInet:
      return ListenInet(address);
    case SocketAddress::Kind::kFd:
      return ListenFd(address);
    case SocketAddress::Kind::kVsock:
      return ListenVsock(address);
  }
  return GenericError("an address of no kind");
}

}  // namespace millrace
