#include "examples/hypervisor/process/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

absl::StatusOr<sockaddr_un> Address(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return GenericError(StrCat("UNIX socket path '", path, "' is too long"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

int NewSocket() { return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); }

absl::Status FailedTo(std::string_view what, int error) {
  return GenericError(StrCat("Failed to ", what, ": ", std::strerror(error)));
}

}  // namespace

absl::StatusOr<int> ListenAt(const std::string& path) {
  MILLRACE_ASSIGN_OR_RETURN(const sockaddr_un address, Address(path));
  const int fd = NewSocket();
  if (fd < 0) return FailedTo("create Unix socket", errno);
  // The socket of a daemon that is gone; nothing but a socket is taken away.
  struct stat info;
  if (lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) unlink(path.c_str());
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0) {
    const int error = errno;
    close(fd);
    return FailedTo(StrCat("bind socket to ", path), error);
  }
  if (listen(fd, SOMAXCONN) < 0) {
    const int error = errno;
    close(fd);
    return FailedTo("listen on socket", error);
  }
  return fd;
}

absl::StatusOr<int> ConnectTo(const std::string& path) {
  MILLRACE_ASSIGN_OR_RETURN(const sockaddr_un address, Address(path));
  const int fd = NewSocket();
  if (fd < 0) return FailedTo("create socket", errno);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0) {
    const int error = errno;
    close(fd);
    return FailedTo(StrCat("connect to '", path, "'"), error);
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
