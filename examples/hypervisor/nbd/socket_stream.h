// SocketStream: a connected socket as an NbdStream.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_SOCKET_STREAM_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_SOCKET_STREAM_H_

#include "examples/hypervisor/nbd/stream.h"

namespace millrace {

class SocketStream final : public NbdStream {
 public:
  // The descriptor stays its owner's, and outlives the stream.
  explicit SocketStream(int fd) : fd_(fd) {}
  ssize_t Read(absl::Span<const iovec> pieces) override;
  ssize_t Write(absl::Span<const iovec> pieces) override;
  void Shutdown() override;
  bool gives_all_there_is() const override { return true; }

 private:
  const int fd_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_SOCKET_STREAM_H_
