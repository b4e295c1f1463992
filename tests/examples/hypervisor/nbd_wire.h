// NBD messages as a client sends and reads them, for tests and fuzzing.
#ifndef MILLRACE_TESTS_EXAMPLES_HYPERVISOR_NBD_WIRE_H_
#define MILLRACE_TESTS_EXAMPLES_HYPERVISOR_NBD_WIRE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "examples/hypervisor/nbd/protocol.h"

namespace millrace::nbd_wire {

template <typename... Integers>
std::string Big(Integers... values) {
  std::string bytes;
  (nbd::AppendBig(&bytes, values), ...);
  return bytes;
}

inline std::string Flags(uint32_t flags = nbd::kFixedNewstyle | nbd::kNoZeroes) {
  return Big(flags);
}
inline std::string Opt(uint32_t option, std::string_view payload = {}) {
  return Big(nbd::kOptionMagic, option, static_cast<uint32_t>(payload.size())) +
         std::string(payload);
}
inline std::string Text(std::string_view text) {
  return Big(static_cast<uint32_t>(text.size())) + std::string(text);
}
inline std::string Go(std::string_view name, uint32_t option = nbd::kOptGo) {
  return Opt(option, Text(name) + Big(uint16_t{0}));
}
inline std::string Contexts(uint32_t option, std::string_view name,
                            const std::vector<std::string>& queries) {
  std::string payload = Text(name) + Big(static_cast<uint32_t>(queries.size()));
  for (const std::string& query : queries) payload += Text(query);
  return Opt(option, payload);
}
// Up to the transmission phase, with structured replies and base:allocation.
inline std::string Opening(std::string_view name) {
  return Flags() + Opt(nbd::kOptStructuredReply) +
         Contexts(nbd::kOptSetMetaContext, name, {"base:allocation"}) + Go(name);
}
inline std::string SimpleOpening(std::string_view name) { return Flags() + Go(name); }

inline std::string Request(uint16_t command, uint64_t cookie, uint64_t offset, uint32_t bytes,
                           uint16_t flags = 0, std::string_view payload = {}) {
  return Big(nbd::kRequestMagic, flags, command, cookie, offset, bytes) + std::string(payload);
}
inline std::string Write(uint64_t cookie, uint64_t offset, std::string_view payload,
                         uint16_t flags = 0) {
  return Request(nbd::kCmdWrite, cookie, offset, static_cast<uint32_t>(payload.size()), flags,
                 payload);
}

struct OptionAnswer {
  uint32_t option = 0;
  uint32_t type = 0;
  std::string payload;
  friend bool operator==(const OptionAnswer&, const OptionAnswer&) = default;
};

// One reply of the transmission phase, simple or structured.
struct Answer {
  uint64_t cookie = 0;
  uint32_t error = 0;
  bool is_structured = false;
  uint16_t chunk = 0;
  bool is_last = true;  // of the reply's chunks
  uint64_t offset = 0;  // of data in a chunk
  std::string data;     // what was read; the message of an error; the payload of a status
  friend bool operator==(const Answer&, const Answer&) = default;
};

// Reads what a server sent from the front; nothing if it is not whole.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  bool TakeGreeting() {
    if (!rest_.starts_with(std::string_view("NBDMAGICIHAVEOPT\0\3", 18))) return false;
    rest_.remove_prefix(18);
    return true;
  }
  std::optional<OptionAnswer> TakeOptionAnswer() {
    if (rest_.size() < 20 || nbd::ReadBig<uint64_t>(rest_.data()) != nbd::kOptionReplyMagic) {
      return std::nullopt;
    }
    OptionAnswer answer;
    answer.option = nbd::ReadBig<uint32_t>(rest_.data() + 8);
    answer.type = nbd::ReadBig<uint32_t>(rest_.data() + 12);
    const auto bytes = nbd::ReadBig<uint32_t>(rest_.data() + 16);
    if (rest_.size() < 20 + size_t{bytes}) return std::nullopt;
    answer.payload = rest_.substr(20, bytes);
    rest_.remove_prefix(20 + size_t{bytes});
    return answer;
  }
  // `read_bytes`: how much data follows a simple reply without error.
  std::optional<Answer> TakeAnswer(size_t read_bytes = 0) {
    if (rest_.size() < 4) return std::nullopt;
    return nbd::ReadBig<uint32_t>(rest_.data()) == nbd::kSimpleReplyMagic ? TakeSimple(read_bytes)
                                                                          : TakeChunk();
  }
  std::string_view rest() const { return rest_; }

 private:
  std::optional<Answer> TakeSimple(size_t read_bytes) {
    if (rest_.size() < 16) return std::nullopt;
    Answer answer;
    answer.error = nbd::ReadBig<uint32_t>(rest_.data() + 4);
    answer.cookie = nbd::ReadBig<uint64_t>(rest_.data() + 8);
    const size_t bytes = answer.error == 0 ? read_bytes : 0;
    if (rest_.size() < 16 + bytes) return std::nullopt;
    answer.data = rest_.substr(16, bytes);
    rest_.remove_prefix(16 + bytes);
    return answer;
  }
  std::optional<Answer> TakeChunk() {
    if (rest_.size() < 20 || nbd::ReadBig<uint32_t>(rest_.data()) != nbd::kStructuredReplyMagic) {
      return std::nullopt;
    }
    Answer answer;
    answer.is_structured = true;
    answer.is_last = (nbd::ReadBig<uint16_t>(rest_.data() + 4) & nbd::kChunkDone) != 0;
    answer.chunk = nbd::ReadBig<uint16_t>(rest_.data() + 6);
    answer.cookie = nbd::ReadBig<uint64_t>(rest_.data() + 8);
    const auto bytes = nbd::ReadBig<uint32_t>(rest_.data() + 16);
    if (rest_.size() < 20 + size_t{bytes}) return std::nullopt;
    std::string_view payload = rest_.substr(20, bytes);
    rest_.remove_prefix(20 + size_t{bytes});
    if (answer.chunk == nbd::kChunkError && payload.size() >= 6) {
      answer.error = nbd::ReadBig<uint32_t>(payload.data());
      const auto text_bytes = nbd::ReadBig<uint16_t>(payload.data() + 4);
      payload.remove_prefix(6);
      if (payload.size() != text_bytes) return std::nullopt;
    } else if (answer.chunk == nbd::kChunkOffsetData && payload.size() >= 8) {
      answer.offset = nbd::ReadBig<uint64_t>(payload.data());
      payload.remove_prefix(8);
    } else if (answer.chunk == nbd::kChunkOffsetHole && payload.size() == 12) {
      answer.offset = nbd::ReadBig<uint64_t>(payload.data());
      answer.data = std::string(nbd::ReadBig<uint32_t>(payload.data() + 8), '\0');
      return answer;
    }
    answer.data = payload;
    return answer;
  }

  std::string_view rest_;
};

}  // namespace millrace::nbd_wire

#endif  // MILLRACE_TESTS_EXAMPLES_HYPERVISOR_NBD_WIRE_H_
