#include "examples/hypervisor/nbd/command.h"

#include <string_view>

#include "millrace/graph/io/io_vector.h"

namespace millrace {

using nbd::AppendBig;
using nbd::WriteBig;

void NbdCommand::ReplySimple(uint32_t error) {
  uint8_t* end = WriteBig(head.data(), nbd::kSimpleReplyMagic);
  end = WriteBig(end, error);
  end = WriteBig(end, request.cookie);
  head_bytes = static_cast<size_t>(end - head.data());
}

// A reply is one chunk, the last.
void NbdCommand::ReplyChunk(uint16_t type, size_t payload_bytes) {
  uint8_t* end = WriteBig(head.data(), nbd::kStructuredReplyMagic);
  end = WriteBig(end, nbd::kChunkDone);
  end = WriteBig(end, type);
  end = WriteBig(end, request.cookie);
  end = WriteBig(end, static_cast<uint32_t>(payload_bytes));
  head_bytes = static_cast<size_t>(end - head.data());
}

// Zeroes are told rather than sent: most of what is read where no image holds anything.
void NbdCommand::ReplyRead() {
  if (request.bytes == 0) return ReplyChunk(nbd::kChunkNone, 0);
  sends_data = !IoVector(piece.iov_base, request.bytes).IsZero();
  const size_t body_bytes = sends_data ? request.bytes : sizeof(uint32_t);
  ReplyChunk(sends_data ? nbd::kChunkOffsetData : nbd::kChunkOffsetHole,
             sizeof(uint64_t) + body_bytes);
  uint8_t* end = WriteBig(head.data() + head_bytes, request.offset);
  if (!sends_data) end = WriteBig(end, static_cast<uint32_t>(request.bytes));
  head_bytes = static_cast<size_t>(end - head.data());
}

void NbdCommand::Reply(bool structured, uint32_t error, std::string_view text) {
  tail.clear();
  sends_data = error == nbd::kOk && request.command == nbd::kCmdRead;
  sent_bytes = 0;
  if (!structured) return ReplySimple(error);
  if (error != nbd::kOk) {
    const std::string_view told = text.substr(0, nbd::kStringBytesMax);
    AppendBig(&tail, error);
    AppendBig(&tail, static_cast<uint16_t>(told.size()));
    tail += told;
    return ReplyChunk(nbd::kChunkError, tail.size());
  }
  if (request.command != nbd::kCmdRead) return ReplySimple(error);
  ReplyRead();
}

void NbdCommand::ReplyExtents(uint32_t context_id) {
  tail.clear();
  sends_data = false;
  sent_bytes = 0;
  AppendBig(&tail, context_id);
  for (const NbdExtent& extent : query.extents) {
    AppendBig(&tail, extent.bytes);
    AppendBig(&tail, extent.state);
  }
  ReplyChunk(nbd::kChunkBlockStatus, tail.size());
}

size_t NbdCommand::Unsent(iovec* pieces) const {
  size_t count = 0;
  size_t skipped = sent_bytes;
  if (skipped < head_bytes) {
    pieces[count++] = {const_cast<uint8_t*>(head.data()) + skipped, head_bytes - skipped};
    skipped = 0;
  } else {
    skipped -= head_bytes;
  }
  void* const body = sends_data ? piece.iov_base : const_cast<char*>(tail.data());
  const size_t body_bytes = sends_data ? request.bytes : tail.size();
  if (skipped < body_bytes) {
    pieces[count++] = {static_cast<char*>(body) + skipped, body_bytes - skipped};
  }
  return count;
}

}  // namespace millrace
