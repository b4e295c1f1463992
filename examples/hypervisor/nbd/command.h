// NbdCommand: one request of a client from its header to the last byte of its reply. Reused by its
// session; internal to it.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_COMMAND_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_COMMAND_H_

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "examples/hypervisor/nbd/disk.h"
#include "examples/hypervisor/nbd/request.h"
#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/io/io_buffer.h"
#include "millrace/graph/guest_request.h"

namespace millrace {

class NbdSession;

struct NbdCommand : GuestRequest {
  NbdSession* session = nullptr;
  NbdRequest request;
  IoBuffer buffer;
  iovec piece = {};           // the buffer, as the port wants it
  NbdStatusQuery query;       // kCmdBlockStatus
  uint64_t memory_bytes = 0;  // taken from the budget
  size_t received_bytes = 0;  // of a payload
  bool flushes_afterwards = false;
  ListLink link;  // in the session's list of free ones, or of replies

  // ---- The reply -----------------------------------------------------------------------------
  // Head, then the data that was read, or the tail.
  static constexpr size_t kHeadBytesMax = 32;
  std::array<uint8_t, kHeadBytesMax> head;
  size_t head_bytes = 0;
  std::string tail;
  bool sends_data = false;
  size_t sent_bytes = 0;

  // Makes the reply for `status`; `text` is told to clients with structured replies.
  void Reply(bool structured, uint32_t error, std::string_view text);
  // The answer to a block status request, from the query.
  void ReplyExtents();

  size_t reply_bytes() const { return head_bytes + tail.size() + (sends_data ? request.bytes : 0); }
  // Writes what is left of the reply as pieces, at most two; returns how many.
  size_t Unsent(iovec* pieces) const;

 private:
  void ReplySimple(uint32_t error);
  void ReplyRead();
  void ReplyChunk(uint16_t type, size_t payload_bytes);
  // Returns its size.
  size_t WriteChunkHead(uint8_t* to, uint16_t type, size_t payload_bytes, bool is_last) const;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_COMMAND_H_
