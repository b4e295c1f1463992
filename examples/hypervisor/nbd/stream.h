// NbdStream: the connection to one NBD client as its session sees it: bytes in, bytes out, never
// waiting. A socket, TLS over one, or a test that chooses where the bytes are cut.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_STREAM_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_STREAM_H_

#include <sys/types.h>
#include <sys/uio.h>

#include "absl/types/span.h"

namespace millrace {

class NbdStream {
 public:
  virtual ~NbdStream() = default;

  // Fills the pieces from the first on. How many bytes, at least 1; 0: the client sends no more;
  // -EAGAIN: nothing now; another -errno: the connection is broken.
  virtual ssize_t Read(absl::Span<const iovec> pieces) = 0;
  // How many bytes were taken, at least 1; -EAGAIN; another -errno. After -EAGAIN the next call
  // must begin with the same bytes.
  virtual ssize_t Write(absl::Span<const iovec> pieces) = 0;
  // Both directions end; the client sees it.
  virtual void Shutdown() = 0;

  // Whether it waits to write for reasons of its own (a TLS handshake).
  virtual bool wants_write() const { return false; }
  // Whether there is no more, for now, after a Read() that gave less than it was asked for.
  virtual bool gives_all_there_is() const { return false; }
  // Whether Read() would give bytes although nothing more arrives.
  virtual bool has_buffered() const { return false; }
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_STREAM_H_
