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

// The head of a chunk. A reply is one chunk, but for block status with several contexts.
size_t NbdCommand::WriteChunkHead(uint8_t* to, uint16_t type, size_t payload_bytes,
                                  bool is_last) const {
  uint8_t* end = WriteBig(to, nbd::kStructuredReplyMagic);
  end = WriteBig(end, is_last ? nbd::kChunkDone : uint16_t{0});
  end = WriteBig(end, type);
  end = WriteBig(end, request.cookie);
  end = WriteBig(end, static_cast<uint32_t>(payload_bytes));
  return static_cast<size_t>(end - to);
}

void NbdCommand::ReplyChunk(uint16_t type, size_t payload_bytes) {
  head_bytes = WriteChunkHead(head.data(), type, payload_bytes, /*is_last=*/true);
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

void NbdCommand::ReplyExtents() {
  tail.clear();
  head_bytes = 0;
  sends_data = false;
  sent_bytes = 0;
  for (uint32_t context = 0; context < kNbdContexts; ++context) {
    if (((query.contexts >> context) & 1) == 0) continue;
    const std::vector<NbdExtent>& extents = query.extents[context];
    std::array<uint8_t, kHeadBytesMax> chunk;
    const size_t payload_bytes = sizeof(context) + extents.size() * sizeof(uint32_t) * 2;
    const bool is_last = (query.contexts >> context) == 1;
    const size_t chunk_bytes =
        WriteChunkHead(chunk.data(), nbd::kChunkBlockStatus, payload_bytes, is_last);
    tail.append(reinterpret_cast<const char*>(chunk.data()), chunk_bytes);
    AppendBig(&tail, context);
    for (const NbdExtent& extent : extents) {
      AppendBig(&tail, extent.bytes);
      AppendBig(&tail, extent.state);
    }
  }
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
