#include "examples/hypervisor/process/connection.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>
#include <vector>

namespace millrace {
namespace {

// Small, so that few requests are read beyond the point where reading is to stop.
constexpr size_t kReadBytes = 16 << 10;
constexpr size_t kPiecesOfACallMax = 64;  // of one system call
constexpr size_t kDescriptorsMax = 16;    // in one message; the kernel closes the rest

bool IsSocket(int fd) {
  struct stat info;
  return fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode);
}

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

Connection::Connection(EventLoop& loop, int input, int output)
    : input_(input),
      output_(output),
      input_watch_(loop, input, [this](short revents) { OnReady(revents); }),
      is_socket_(IsSocket(output)) {
  if (output != input) {
    output_watch_ = std::make_unique<EventLoop::Watch>(
        loop, output, [this](short revents) { OnReady(revents & ~POLLIN); });
  }
}

Connection::~Connection() {
  if (input_ > STDERR_FILENO) close(input_);
  if (output_ != input_ && output_ > STDERR_FILENO) close(output_);
}

void Connection::Start(std::function<void(std::string_view)> on_bytes, std::function<void()> on_end,
                       std::function<void()> on_sent) {
  on_bytes_ = std::move(on_bytes);
  on_end_ = std::move(on_end);
  on_sent_ = std::move(on_sent);
  is_reading_ = true;
  UpdateEvents();
}

void Connection::SetReading(bool is_reading) {
  if (is_reading == is_reading_) return;
  is_reading_ = is_reading;
  UpdateEvents();
}

void Connection::UpdateEvents() {
  const short read = is_reading_ && !has_ended_ ? POLLIN : 0;
  const short write = unsent_bytes() > 0 && !is_broken_ ? POLLOUT : 0;
  if (output_watch_ == nullptr) {
    input_watch_.SetEvents(static_cast<short>(read | write));
  } else {
    input_watch_.SetEvents(read);
    output_watch_->SetEvents(write);
  }
}

void Connection::OnReady(short revents) {
  // Whatever is called may destroy this, so it is the last that happens here.
  if ((revents & (POLLOUT | POLLERR | POLLHUP)) != 0 && unsent_bytes() > 0) {
    Flush();
    const std::function<void()> on_sent = on_sent_;
    if (on_sent) return on_sent();
  }
  if (is_reading_ && !has_ended_ && (revents & (POLLIN | POLLHUP | POLLERR)) != 0) Read();
}

void Connection::Read() {
  std::array<char, kReadBytes> bytes;
  const ssize_t count = ReadSome(bytes.data(), bytes.size());
  if (count < 0 && WouldBlock()) return;
  if (count <= 0) return End();
  on_bytes_({bytes.data(), static_cast<size_t>(count)});
}

ssize_t Connection::ReadSome(char* bytes, size_t count) {
  if (!is_socket_ || input_ != output_) return read(input_, bytes, count);
  iovec place = {bytes, count};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kDescriptorsMax)> control = {};
  msghdr message = {};
  message.msg_iov = &place;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t got = recvmsg(input_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return got;
  bool is_first = true;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    std::vector<int> fds((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    std::memcpy(fds.data(), CMSG_DATA(part), fds.size() * sizeof(int));
    for (const int fd : fds) {
      if (take_descriptor_ && std::exchange(is_first, false)) {
        take_descriptor_(fd);
      } else {
        close(fd);
      }
    }
  }
  return got;
}

void Connection::End() {
  has_ended_ = true;
  UpdateEvents();
  // It may destroy this, and so the function that runs.
  const std::function<void()> on_end = std::move(on_end_);
  on_end();
}

void Connection::Write(TextRope text) {
  if (is_broken_) return;
  if (unasked_bytes_ > kUnsentBytesMax) return Break();
  unasked_bytes_ += text.bytes();
  unsent_.Append(std::move(text));
}

void Connection::WriteReply(TextRope text) {
  if (is_broken_) return;
  unasked_bytes_ = 0;
  unsent_.Append(std::move(text));
}

ssize_t Connection::WriteSome() {
  std::array<iovec, kPiecesOfACallMax> pieces;
  if (is_socket_) {
    msghdr message = {};
    message.msg_iov = pieces.data();
    message.msg_iovlen = unsent_.Front(absl::MakeSpan(pieces));
    return sendmsg(output_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  // A pipe or terminal may be in blocking mode, and we share it with whoever started us: ask first,
  // and write no more than a pipe that is ready has room for.
  pollfd ready = {output_, POLLOUT, 0};
  if (poll(&ready, 1, 0) <= 0) {
    errno = EAGAIN;
    return -1;
  }
  unsent_.Front(absl::MakeSpan(pieces));
  return write(output_, pieces[0].iov_base, std::min<size_t>(pieces[0].iov_len, PIPE_BUF));
}

void Connection::Flush() {
  while (!is_broken_ && unsent_bytes() > 0) {
    const ssize_t count = WriteSome();
    if (count < 0 && WouldBlock()) break;
    if (count < 0) return Break();
    unsent_.RemoveFront(static_cast<size_t>(count));
    unasked_bytes_ = std::min(unasked_bytes_, unsent_bytes());
  }
  UpdateEvents();
}

void Connection::Break() {
  is_broken_ = true;
  unsent_ = TextRope();
  // The client of a socket hears that it is over, and so do we, by reading the end.
  if (is_socket_) shutdown(output_, SHUT_RDWR);
  is_reading_ = true;
  UpdateEvents();
}

}  // namespace millrace
