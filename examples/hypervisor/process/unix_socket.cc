#include "examples/hypervisor/process/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

struct Address {
  const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(&name); }

  sockaddr_un name{};
  socklen_t size = sizeof(sockaddr_un);
};

// A path ends with a zero, an abstract name begins with one.
absl::StatusOr<Address> AddressOf(const SocketPlace& place) {
  Address address;
  address.name.sun_family = AF_UNIX;
  // To the host it would be an abstract name of zeroes, which any user of the machine can take.
  if (place.path.empty() && !place.is_abstract) {
    return GenericError(
        "Parameter 'path' is empty: name the file that the socket is, or a name with abstract=on");
  }
  if (place.path.size() >= sizeof(address.name.sun_path)) {
    return GenericError(StrCat("UNIX socket path '", place.path, "' is too long"));
  }
  std::memcpy(address.name.sun_path + (place.is_abstract ? 1 : 0), place.path.data(),
              place.path.size());
  if (place.is_abstract && place.is_tight) {
    address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + place.path.size());
  }
  return address;
}

int NewSocket() { return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); }

absl::Status FailedTo(std::string_view what, int error) {
  return GenericError(StrCat("Failed to ", what, ": ", std::strerror(error)));
}

}  // namespace

absl::Status CheckPlace(const SocketPlace& place) { return AddressOf(place).status(); }

absl::StatusOr<int> ListenAt(const SocketPlace& place) {
  MILLRACE_ASSIGN_OR_RETURN(const Address address, AddressOf(place));
  const int fd = NewSocket();
  if (fd < 0) return FailedTo("create Unix socket", errno);
  // The socket of a daemon that is gone; nothing but a socket is taken away.
  struct stat info;
  if (!place.is_abstract && lstat(place.path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) {
    unlink(place.path.c_str());
  }
  if (bind(fd, address.data(), address.size) < 0) {
    const int error = errno;
    close(fd);
    return FailedTo(StrCat("bind socket to ", place.path), error);
  }
  if (listen(fd, SOMAXCONN) < 0) {
    const int error = errno;
    close(fd);
    return FailedTo("listen on socket", error);
  }
  return fd;
}

absl::StatusOr<int> ConnectTo(const SocketPlace& place) {
  MILLRACE_ASSIGN_OR_RETURN(const Address address, AddressOf(place));
  const int fd = NewSocket();
  if (fd < 0) return FailedTo("create socket", errno);
  if (connect(fd, address.data(), address.size) < 0) {
    const int error = errno;
    close(fd);
    return FailedTo(StrCat("connect to '", place.path, "'"), error);
  }
  return fd;
}

absl::Status AdoptSocket(int fd, std::string_view name) {
  struct stat info;
  if (fstat(fd, &info) < 0 || !S_ISSOCK(info.st_mode)) {
    return GenericError(StrCat("File descriptor '", name, "' is not a socket"));
  }
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  return absl::OkStatus();
}

}  // namespace millrace
