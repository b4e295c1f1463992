// The NBD protocol's numbers, and big-endian bytes. Source: the NBD protocol specification,
// github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md; names without the NBD_ prefix.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_PROTOCOL_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_PROTOCOL_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace millrace::nbd {

// ---- Negotiation ---------------------------------------------------------------------------------

inline constexpr uint64_t kGreetingMagic = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr uint64_t kOptionMagic = 0x49484156454f5054;    // "IHAVEOPT"
inline constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9;

// Handshake flags of the server; the client answers with the same bits.
inline constexpr uint16_t kFixedNewstyle = 1;
inline constexpr uint16_t kNoZeroes = 2;

enum Option : uint32_t {
  kOptExportName = 1,
  kOptAbort = 2,
  kOptList = 3,
  kOptStartTls = 5,
  kOptInfo = 6,
  kOptGo = 7,
  kOptStructuredReply = 8,
  kOptListMetaContext = 9,
  kOptSetMetaContext = 10,
};

enum OptionReply : uint32_t {
  kRepAck = 1,
  kRepServer = 2,
  kRepInfo = 3,
  kRepMetaContext = 4,
  kRepErrUnsupported = 0x80000001,
  kRepErrPolicy = 0x80000002,
  kRepErrInvalid = 0x80000003,
  kRepErrTlsRequired = 0x80000005,
  kRepErrUnknown = 0x80000006,
  kRepErrShutdown = 0x80000007,
  kRepErrTooBig = 0x80000009,
};

enum Info : uint16_t { kInfoExport = 0, kInfoName = 1, kInfoDescription = 2, kInfoBlockSize = 3 };

// ---- Transmission --------------------------------------------------------------------------------

// Transmission flags.
inline constexpr uint16_t kHasFlags = 1 << 0;
inline constexpr uint16_t kReadOnly = 1 << 1;
inline constexpr uint16_t kSendFlush = 1 << 2;
inline constexpr uint16_t kSendFua = 1 << 3;
inline constexpr uint16_t kSendTrim = 1 << 5;
inline constexpr uint16_t kSendWriteZeroes = 1 << 6;
inline constexpr uint16_t kSendDf = 1 << 7;
inline constexpr uint16_t kCanMultiConn = 1 << 8;
inline constexpr uint16_t kSendCache = 1 << 10;
inline constexpr uint16_t kSendFastZero = 1 << 11;

inline constexpr uint32_t kRequestMagic = 0x25609513;
inline constexpr uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr uint32_t kStructuredReplyMagic = 0x668e33ef;

enum Command : uint16_t {
  kCmdRead = 0,
  kCmdWrite = 1,
  kCmdDisconnect = 2,
  kCmdFlush = 3,
  kCmdTrim = 4,
  kCmdCache = 5,
  kCmdWriteZeroes = 6,
  kCmdBlockStatus = 7,
};

// Flags of a command.
inline constexpr uint16_t kFlagFua = 1 << 0;
inline constexpr uint16_t kFlagNoHole = 1 << 1;
inline constexpr uint16_t kFlagDf = 1 << 2;
inline constexpr uint16_t kFlagReqOne = 1 << 3;
inline constexpr uint16_t kFlagFastZero = 1 << 4;

enum Chunk : uint16_t {
  kChunkNone = 0,
  kChunkOffsetData = 1,
  kChunkOffsetHole = 2,
  kChunkBlockStatus = 5,
  kChunkError = 0x8001,
};
inline constexpr uint16_t kChunkDone = 1;  // flag

enum Error : uint32_t {
  kOk = 0,
  kEperm = 1,
  kEio = 5,
  kEnomem = 12,
  kEinval = 22,
  kEnospc = 28,
  kEoverflow = 75,
  kEnotsup = 95,
  kEshutdown = 108,
};

// base:allocation.
inline constexpr uint32_t kStateHole = 1;
inline constexpr uint32_t kStateZero = 2;

// ---- Limits --------------------------------------------------------------------------------------

inline constexpr uint32_t kRequestBytesMax = 32 << 20;  // of a request with a payload or a buffer
inline constexpr uint32_t kStringBytesMax = 4096;       // names, descriptions, context queries
inline constexpr uint32_t kOptionBytesMax = 32 << 20;   // beyond it, the client is cut off
inline constexpr uint32_t kPreferredBlockBytes = 4096;
inline constexpr size_t kRequestHeaderBytes = 28;

// ---- Bytes ---------------------------------------------------------------------------------------

template <typename Integer>
Integer ReadBig(const void* from) {
  const auto* bytes = static_cast<const uint8_t*>(from);
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(Integer); ++i) value = (value << 8) | bytes[i];
  return static_cast<Integer>(value);
}

// Returns behind what was written.
template <typename Integer>
uint8_t* WriteBig(uint8_t* to, Integer value) {
  for (size_t i = 0; i < sizeof(Integer); ++i) {
    to[i] = static_cast<uint8_t>(value >> (8 * (sizeof(Integer) - 1 - i)));
  }
  return to + sizeof(Integer);
}

template <typename Integer>
void AppendBig(std::string* text, Integer value) {
  uint8_t bytes[sizeof(Integer)];
  WriteBig(bytes, value);
  text->append(reinterpret_cast<const char*>(bytes), sizeof(bytes));
}

// Takes integers and texts from the front of a payload; false, and nothing is taken, if it is too
// short.
class PayloadReader {
 public:
  explicit PayloadReader(std::string_view bytes) : rest_(bytes) {}

  template <typename Integer>
  bool Read(Integer* value) {
    if (rest_.size() < sizeof(Integer)) return false;
    *value = ReadBig<Integer>(rest_.data());
    rest_.remove_prefix(sizeof(Integer));
    return true;
  }
  bool ReadText(size_t bytes, std::string_view* text) {
    if (rest_.size() < bytes) return false;
    *text = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return true;
  }
  bool at_end() const { return rest_.empty(); }
  size_t left() const { return rest_.size(); }

 private:
  std::string_view rest_;
};

}  // namespace millrace::nbd

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_PROTOCOL_H_
