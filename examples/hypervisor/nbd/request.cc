#include "examples/hypervisor/nbd/request.h"

#include <cerrno>
#include <string_view>

#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"

namespace millrace {
namespace {

using namespace nbd;  // NOLINT: the protocol's own names, in this file only

struct CommandRule {
  uint16_t command;
  std::string_view name;
  uint16_t flags;  // allowed; those of structured replies are taken away without them
  bool writes = false;
  bool has_range = true;
};

// FUA says nothing about what does not write, and is allowed there, as the protocol wants it.
constexpr CommandRule kRules[] = {
    {kCmdRead, "read", kFlagFua | kFlagDf},
    {kCmdWrite, "write", kFlagFua, true},
    {kCmdFlush, "flush", kFlagFua, false, false},
    {kCmdTrim, "trim", kFlagFua, true},
    {kCmdCache, "cache", kFlagFua},
    {kCmdWriteZeroes, "write zeroes", kFlagFua | kFlagNoHole | kFlagFastZero, true},
    {kCmdBlockStatus, "block status", kFlagFua | kFlagReqOne},
};

const CommandRule* FindRule(uint16_t command) {
  for (const CommandRule& rule : kRules) {
    if (rule.command == command) return &rule;
  }
  return nullptr;
}

uint16_t AllowedFlags(const CommandRule& rule, const NbdTerms& terms) {
  if (terms.structured_replies) return rule.flags;
  return static_cast<uint16_t>(rule.flags & ~(kFlagDf | kFlagReqOne));
}

}  // namespace

std::optional<NbdRequest> ParseNbdRequest(const uint8_t* bytes) {
  if (ReadBig<uint32_t>(bytes) != kRequestMagic) return std::nullopt;
  NbdRequest request;
  request.flags = ReadBig<uint16_t>(bytes + 4);
  request.command = ReadBig<uint16_t>(bytes + 6);
  request.cookie = ReadBig<uint64_t>(bytes + 8);
  request.offset = ReadBig<uint64_t>(bytes + 16);
  request.bytes = ReadBig<uint32_t>(bytes + 24);
  return request;
}

std::optional<NbdRefusal> CheckNbdRequest(const NbdRequest& request, const NbdTerms& terms) {
  const CommandRule* const rule = FindRule(request.command);
  if (rule == nullptr) {
    return NbdRefusal{kEinval, StrCat("invalid request type (", request.command, ") received")};
  }
  if (request.needs_buffer() && request.bytes > kRequestBytesMax) {
    // A reply in one piece is what DF asks for, and it would be too long.
    const bool is_undivided = request.command == kCmdRead && (request.flags & kFlagDf) != 0;
    return NbdRefusal{
        is_undivided ? kEoverflow : kEinval,
        StrCat("len (", request.bytes, ") is larger than max len (", kRequestBytesMax, ")")};
  }
  if ((request.flags & ~AllowedFlags(*rule, terms)) != 0) {
    return NbdRefusal{kEinval, StrCat("unsupported flags for command ", rule->name, " (got 0x",
                                      absl::Hex(request.flags), ")")};
  }
  if (request.command == kCmdBlockStatus) {
    if (terms.contexts == 0) return NbdRefusal{kEinval, "CMD_BLOCK_STATUS not negotiated"};
    if (request.bytes == 0) return NbdRefusal{kEinval, "need non-zero length"};
  }
  if (rule->writes && terms.is_read_only) return NbdRefusal{kEperm, "Export is read-only"};
  if (!rule->has_range) return std::nullopt;
  if (request.offset > terms.disk_bytes || request.bytes > terms.disk_bytes - request.offset) {
    const bool fills = request.command == kCmdWrite || request.command == kCmdWriteZeroes;
    return NbdRefusal{fills ? kEnospc : kEinval,
                      StrCat("operation past EOF; From: ", request.offset, ", Len: ", request.bytes,
                             ", Size: ", terms.disk_bytes)};
  }
  // Which layer will do it, and how, is not known before it is done. The protocol wants the refusal
  // of who cannot promise, and the client then writes as it would have done.
  if (request.command == kCmdWriteZeroes && (request.flags & kFlagFastZero) != 0) {
    return NbdRefusal{kEnotsup, "fast zeroes cannot be promised"};
  }
  return std::nullopt;
}

uint32_t NbdErrorOf(const absl::Status& status) {
  if (status.ok()) return kOk;
  if (absl::IsCancelled(status)) return kEshutdown;
  if (absl::IsInvalidArgument(status) && !CarriesErrno(status)) return kEinval;
  switch (ErrnoOf(status)) {
    case EPERM:
    case EACCES:
    case EROFS:
      return kEperm;
    case ENOMEM:
      return kEnomem;
    case EINVAL:
      return kEinval;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return kEnospc;
    case EOVERFLOW:
      return kEoverflow;
    case ENOTSUP:
      return kEnotsup;
    case ESHUTDOWN:
      return kEshutdown;
    default:
      return kEio;
  }
}

}  // namespace millrace
