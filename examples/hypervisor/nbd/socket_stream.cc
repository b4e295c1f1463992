#include "examples/hypervisor/nbd/socket_stream.h"

#include <sys/socket.h>

#include <cerrno>

namespace millrace {
namespace {

msghdr MessageOf(absl::Span<const iovec> pieces) {
  msghdr message = {};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = pieces.size();
  return message;
}

ssize_t Outcome(ssize_t count) {
  if (count >= 0) return count;
  return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

}  // namespace

ssize_t SocketStream::Read(absl::Span<const iovec> pieces) {
  msghdr message = MessageOf(pieces);
  return Outcome(recvmsg(fd_, &message, MSG_DONTWAIT));
}

ssize_t SocketStream::Write(absl::Span<const iovec> pieces) {
  const msghdr message = MessageOf(pieces);
  return Outcome(sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

void SocketStream::Shutdown() { shutdown(fd_, SHUT_RDWR); }

}  // namespace millrace
