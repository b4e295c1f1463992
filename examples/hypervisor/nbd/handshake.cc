#include "examples/hypervisor/nbd/handshake.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

using namespace nbd;  // NOLINT: the protocol's own names, in this file only

// By their ids.
constexpr std::string_view kContextNames[kNbdContexts] = {"base:allocation",
                                                          "qemu:allocation-depth"};
constexpr size_t kOptionHeaderBytes = 16;

std::string_view OptionText(uint32_t option) {
  switch (option) {
    case kOptExportName:
      return "export name";
    case kOptAbort:
      return "abort";
    case kOptList:
      return "list";
    case kOptStartTls:
      return "starttls";
    case kOptInfo:
      return "info";
    case kOptGo:
      return "go";
    case kOptStructuredReply:
      return "structured reply";
    case kOptListMetaContext:
      return "list meta context";
    case kOptSetMetaContext:
      return "set meta context";
    default:
      return "<unknown>";
  }
}

bool IsKnown(uint32_t option) { return OptionText(option).front() != '<'; }

// Names go into messages and to other programs: control characters do not, and of a long name as
// much as QEMU shows.
std::string Printable(std::string_view name) {
  constexpr size_t kShownBytes = 80;
  std::string shown;
  for (const char c : name.substr(0, kShownBytes)) {
    const auto byte = static_cast<uint8_t>(c);
    shown += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  return name.size() < kShownBytes ? shown : shown + "...";
}

// Of a query: the name of a context, or, where that is enough, what stands before its colon.
NbdContextSet ContextsNamed(std::string_view query, bool accepts_folder) {
  NbdContextSet found = 0;
  for (uint32_t id = 0; id < kNbdContexts; ++id) {
    const std::string_view name = kContextNames[id];
    const std::string_view folder = name.substr(0, name.find(':') + 1);
    if (query == name || (accepts_folder && query == folder)) found |= 1u << id;
  }
  return found;
}

std::string InfoHead(uint16_t type) {
  std::string payload;
  AppendBig(&payload, type);
  return payload;
}

}  // namespace

NbdHandshake::NbdHandshake(const NbdOffer& offer) : offer_(offer) {
  AppendBig(&replies_, kGreetingMagic);
  AppendBig(&replies_, kOptionMagic);
  AppendBig(&replies_, static_cast<uint16_t>(kFixedNewstyle | kNoZeroes));
}

NbdContextSet NbdHandshake::contexts() const {
  return disk_ != nullptr && context_disk_.lock() == disk_ ? chosen_contexts_ : 0;
}

void NbdHandshake::OnTls() {
  has_tls_ = true;
  result_ = Result::kGoesOn;
}

void NbdHandshake::Expect(State state, size_t bytes) {
  state_ = state;
  wanted_ = bytes;
  pending_.clear();
}

size_t NbdHandshake::Take(absl::Span<const uint8_t> input) {
  size_t taken = 0;
  const size_t replied = replies_.size();
  while (result_ == Result::kGoesOn && replies_.size() == replied) {
    const size_t part = std::min(input.size() - taken, wanted_);
    if (part == 0 && wanted_ > 0) break;
    if (state_ != State::kSkip) {
      pending_.append(reinterpret_cast<const char*>(input.data()) + taken, part);
    }
    taken += part;
    wanted_ -= part;
    if (wanted_ > 0) break;
    switch (state_) {
      case State::kFlags:
        TakeFlags();
        break;
      case State::kHeader:
        TakeHeader();
        break;
      case State::kPayload:
        HandleOption();
        Expect(State::kHeader, kOptionHeaderBytes);
        break;
      case State::kSkip:
        Refuse(IsKnown(option_) ? kRepErrTooBig : kRepErrUnsupported,
               IsKnown(option_)
                   ? StrCat("option '", OptionText(option_), "' has a payload that is too large")
                   : StrCat("Unsupported option ", option_, " (<unknown>)"));
        Expect(State::kHeader, kOptionHeaderBytes);
        break;
    }
  }
  return taken;
}

void NbdHandshake::TakeFlags() {
  const auto flags = ReadBig<uint32_t>(pending_.data());
  // Without fixed newstyle a client could not be told that something is wrong.
  if ((flags & ~uint32_t{kFixedNewstyle | kNoZeroes}) != 0 || (flags & kFixedNewstyle) == 0) {
    result_ = Result::kBroken;
    return;
  }
  no_zeroes_ = (flags & kNoZeroes) != 0;
  Expect(State::kHeader, kOptionHeaderBytes);
}

void NbdHandshake::TakeHeader() {
  PayloadReader reader(pending_);
  uint64_t magic = 0;
  reader.Read(&magic);
  reader.Read(&option_);
  reader.Read(&option_bytes_);
  const bool is_endless = option_bytes_ > kOptionBytesMax ||
                          (option_ == kOptExportName && option_bytes_ > kStringBytesMax);
  if (magic != kOptionMagic || is_endless) {
    result_ = Result::kBroken;
    return;
  }
  const bool is_kept = IsKnown(option_) && option_bytes_ <= kPayloadBytesMax;
  Expect(is_kept ? State::kPayload : State::kSkip, option_bytes_);
}

void NbdHandshake::Reply(uint32_t type, std::string_view payload) {
  AppendBig(&replies_, kOptionReplyMagic);
  AppendBig(&replies_, option_);
  AppendBig(&replies_, type);
  AppendBig(&replies_, static_cast<uint32_t>(payload.size()));
  replies_ += payload;
}

void NbdHandshake::HandleOption() {
  if (option_ == kOptAbort) {
    Reply(kRepAck);
    result_ = Result::kOver;
    return;
  }
  if (offer_.is_shutting_down()) {
    if (option_ == kOptExportName) {
      result_ = Result::kBroken;
      return;
    }
    return Refuse(kRepErrShutdown, "the server is shutting down");
  }
  if (offer_.tls() == NbdOffer::Tls::kRequired && !has_tls_ && option_ != kOptStartTls) {
    // This option has no reply that could say so.
    if (option_ == kOptExportName) {
      result_ = Result::kBroken;
      return;
    }
    return Refuse(kRepErrTlsRequired, StrCat("Option 0x", absl::Hex(option_), " (",
                                             OptionText(option_), ") not permitted before TLS"));
  }
  switch (option_) {
    case kOptExportName:
      return ExportName();
    case kOptList:
      return List();
    case kOptStartTls:
      return StartTls();
    case kOptStructuredReply:
      return StructuredReply();
    case kOptInfo:
    case kOptGo:
      return InfoOrGo();
    default:
      return MetaContexts(option_ == kOptSetMetaContext);
  }
}

uint16_t NbdHandshake::FlagsOf(const NbdDisk& disk) const {
  const uint16_t hidden = offer_.allows_many_connections() ? 0 : kCanMultiConn;
  return static_cast<uint16_t>((disk.transmission_flags() & ~hidden) |
                               (structured_replies_ ? kSendDf : 0));
}

void NbdHandshake::ExportName() {
  disk_ = offer_.FindDisk(pending_);
  if (disk_ == nullptr) {
    result_ = Result::kBroken;
    return;
  }
  AppendBig(&replies_, disk_->bytes());
  AppendBig(&replies_, FlagsOf(*disk_));
  if (!no_zeroes_) replies_.append(124, '\0');
  result_ = Result::kTransmission;
}

// For options without a payload.
bool NbdHandshake::RefuseEmptyOr(bool is_allowed, std::string_view text) {
  if (option_bytes_ != 0) {
    Refuse(kRepErrInvalid, StrCat("option '", OptionText(option_), "' has unexpected length"));
    return true;
  }
  if (is_allowed) return false;
  Refuse(kRepErrInvalid, text);
  return true;
}

void NbdHandshake::List() {
  if (RefuseEmptyOr(true, {})) return;
  for (const std::shared_ptr<NbdDisk>& disk : offer_.Disks()) {
    std::string payload;
    AppendBig(&payload, static_cast<uint32_t>(disk->name().size()));
    Reply(kRepServer, StrCat(payload, disk->name(), disk->description()));
  }
  Reply(kRepAck);
}

void NbdHandshake::StartTls() {
  if (RefuseEmptyOr(!has_tls_, "TLS already enabled")) return;
  if (offer_.tls() == NbdOffer::Tls::kNone) return Refuse(kRepErrPolicy, "TLS not configured");
  Reply(kRepAck);
  // What was agreed in the clear may have been an attacker's wish.
  structured_replies_ = false;
  context_disk_.reset();
  result_ = Result::kStartTls;
}

void NbdHandshake::StructuredReply() {
  if (RefuseEmptyOr(!structured_replies_, "structured reply already negotiated")) return;
  structured_replies_ = true;
  Reply(kRepAck);
}

void NbdHandshake::InfoOrGo() {
  PayloadReader reader(pending_);
  uint32_t name_bytes = 0;
  std::string_view name;
  uint16_t count = 0;
  if (!reader.Read(&name_bytes) || !reader.ReadText(name_bytes, &name) || !reader.Read(&count)) {
    return Refuse(kRepErrInvalid, StrCat("Inconsistent lengths in option ", OptionText(option_)));
  }
  std::vector<uint16_t> asked(reader.left() / sizeof(uint16_t));
  if (asked.size() != count || reader.left() % sizeof(uint16_t) != 0) {
    return Refuse(kRepErrInvalid,
                  StrCat("option '", OptionText(option_), "' has unexpected length"));
  }
  for (uint16_t& type : asked) reader.Read(&type);
  std::shared_ptr<NbdDisk> disk = offer_.FindDisk(name);
  if (disk == nullptr) {
    return Refuse(kRepErrUnknown, StrCat("export '", Printable(name), "' not present"));
  }
  DescribeDisk(*disk, asked);
  Reply(kRepAck);
  if (option_ == kOptInfo) return;
  disk_ = std::move(disk);
  result_ = Result::kTransmission;
}

void NbdHandshake::DescribeDisk(const NbdDisk& disk, absl::Span<const uint16_t> asked) {
  const auto is_asked = [&](uint16_t type) {
    return std::find(asked.begin(), asked.end(), type) != asked.end();
  };
  if (is_asked(kInfoName)) Reply(kRepInfo, InfoHead(kInfoName) + disk.name());
  if (is_asked(kInfoDescription) && !disk.description().empty()) {
    Reply(kRepInfo, InfoHead(kInfoDescription) + disk.description());
  }
  // Any size and place will do, whether or not the client asks.
  std::string sizes = InfoHead(kInfoBlockSize);
  AppendBig(&sizes, uint32_t{1});
  AppendBig(&sizes, kPreferredBlockBytes);
  AppendBig(&sizes, kRequestBytesMax);
  Reply(kRepInfo, sizes);
  std::string info = InfoHead(kInfoExport);
  AppendBig(&info, disk.bytes());
  AppendBig(&info, FlagsOf(disk));
  Reply(kRepInfo, info);
}

void NbdHandshake::MetaContexts(bool chooses) {
  if (chooses) context_disk_.reset();
  if (chooses && !structured_replies_) {
    return Refuse(kRepErrInvalid, StrCat("request option '", OptionText(option_),
                                         "' when structured reply is not negotiated"));
  }
  PayloadReader reader(pending_);
  uint32_t name_bytes = 0;
  std::string_view name;
  uint32_t count = 0;
  bool is_whole =
      reader.Read(&name_bytes) && reader.ReadText(name_bytes, &name) && reader.Read(&count);
  // All that is there can be listed; nothing asked for means all.
  NbdContextSet wanted = is_whole && count == 0 && !chooses ? ~NbdContextSet{0} : 0;
  for (uint32_t i = 0; is_whole && i < count; ++i) {
    uint32_t bytes = 0;
    std::string_view query;
    is_whole = reader.Read(&bytes) && reader.ReadText(bytes, &query);
    wanted |= ContextsNamed(query, /*accepts_folder=*/!chooses);
  }
  if (!is_whole || !reader.at_end()) {
    return Refuse(kRepErrInvalid, StrCat("Inconsistent lengths in option ", OptionText(option_)));
  }
  const std::shared_ptr<NbdDisk> disk = offer_.FindDisk(name);
  if (disk == nullptr) {
    return Refuse(kRepErrUnknown, StrCat("export '", Printable(name), "' not present"));
  }
  wanted &= disk->contexts();
  for (uint32_t id = 0; id < kNbdContexts; ++id) {
    if (((wanted >> id) & 1) == 0) continue;
    std::string payload;
    AppendBig(&payload, id);
    Reply(kRepMetaContext, StrCat(payload, kContextNames[id]));
  }
  Reply(kRepAck);
  if (!chooses) return;
  chosen_contexts_ = wanted;
  context_disk_ = disk;
}

}  // namespace millrace
