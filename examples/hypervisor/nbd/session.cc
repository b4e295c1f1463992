#include "examples/hypervisor/nbd/session.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/buffer_pool.h"

namespace millrace {
namespace {

// How many reads one client gets before the others have their turn.
constexpr int kReadsMax = 8;
constexpr size_t kPiecesMax = 64;
// Of one answer to a block status request.
constexpr size_t kExtentsMax = 2048;

}  // namespace

NbdSession::NbdSession(Engine& engine, NbdSessionHost& host, std::unique_ptr<NbdStream> stream)
    : engine_(engine),
      host_(host),
      stream_(std::move(stream)),
      handshake_(host),
      deadline_("nbd deadline", &OnDeadline, this) {
  SetDeadline(kHandshakeTime);
}

NbdSession::~NbdSession() {
  MILLRACE_CHECK(is_finished(), "an NBD session destroyed before its requests have ended");
  while (free_.PopFront() != nullptr) {
  }
}

void NbdSession::Service() {
  SendReplies();
  TakeInput(true);
  SendLastReplies();
}

void NbdSession::GoOn() {
  SendReplies();
  // What waited for room may have it now. The socket itself says when there is more to read.
  if (buffered() > 0 || (stream_ != nullptr && stream_->has_buffered())) {
    TakeInput(stream_ != nullptr && stream_->has_buffered());
  } else {
    is_blocked_ = false;
  }
  SendLastReplies();
}

void NbdSession::SendLastReplies() {
  const bool has_handshake_replies = !handshake_.replies().empty();
  const size_t used = used_;
  SendReplies();
  // Input that waited for these to leave is in our hands: neither the socket nor a completion would
  // call us for it.
  const bool has_room =
      used_ < used ? is_blocked_ : has_handshake_replies && handshake_.replies().empty();
  if (has_room && buffered() > 0 && phase_ != Phase::kClosed) host_.OnChanged(*this);
  if (phase_ == Phase::kFarewell && used_ == 0 && handshake_.replies().empty()) Close();
}

bool NbdSession::wants_read() const {
  switch (phase_) {
    case Phase::kHandshake:
      return handshake_.replies().empty();
    case Phase::kTransmission:
      return !is_blocked_;
    default:
      return false;
  }
}

bool NbdSession::wants_write() const {
  if (phase_ == Phase::kClosed) return false;
  return !replies_.empty() || !handshake_.replies().empty() || stream_->wants_write();
}

void NbdSession::SetDeadline(Nanoseconds duration) {
  engine_.scheduler().Arm(deadline_, engine_.clock().Now() + duration);
}

void NbdSession::OnDeadline(void* self) { static_cast<NbdSession*>(self)->Close(); }

// ---- The end -----------------------------------------------------------------------------------

void NbdSession::BeginFarewell() {
  if (phase_ == Phase::kClosed || phase_ == Phase::kFarewell) return;
  phase_ = Phase::kFarewell;
  if (receiving_ != nullptr) Recycle(*std::exchange(receiving_, nullptr));
  SetDeadline(kFarewellTime);
}

void NbdSession::Close() {
  if (phase_ == Phase::kClosed) return;
  phase_ = Phase::kClosed;
  engine_.scheduler().Disarm(deadline_);
  if (stream_ != nullptr) stream_->Shutdown();
  if (receiving_ != nullptr) Recycle(*std::exchange(receiving_, nullptr));
  while (NbdCommand* command = replies_.PopFront()) Recycle(*command);
  host_.OnChanged(*this);
}

// ---- Out ---------------------------------------------------------------------------------------

void NbdSession::SendReplies() {
  if (phase_ != Phase::kClosed && SendHandshakeReplies()) SendCommandReplies();
}

// False: there is no more to be done now.
bool NbdSession::SendHandshakeReplies() {
  std::string& replies = handshake_.replies();
  if (replies.empty()) return true;
  while (handshake_sent_ < replies.size()) {
    const iovec piece = {replies.data() + handshake_sent_, replies.size() - handshake_sent_};
    const ssize_t count = stream_->Write({&piece, 1});
    if (count == -EAGAIN) return false;
    if (count < 0) {
      Close();
      return false;
    }
    handshake_sent_ += static_cast<size_t>(count);
  }
  replies.clear();
  handshake_sent_ = 0;
  AfterHandshakeReplies();
  return phase_ != Phase::kClosed;
}

void NbdSession::AfterHandshakeReplies() {
  switch (handshake_.result()) {
    case NbdHandshake::Result::kGoesOn:
      break;
    case NbdHandshake::Result::kStartTls:
      StartTls();
      break;
    case NbdHandshake::Result::kTransmission:
      EnterTransmission();
      break;
    case NbdHandshake::Result::kOver:
    case NbdHandshake::Result::kBroken:
      BeginFarewell();
      break;
  }
}

void NbdSession::StartTls() {
  // What came in the clear after the request for TLS may be somebody else's, to be taken for the
  // client's own words.
  if (buffered() > 0) return Close();
  absl::StatusOr<std::unique_ptr<NbdStream>> stream = host_.StartTls(std::move(stream_));
  if (!stream.ok()) {
    stream_ = nullptr;
    return Close();
  }
  stream_ = *std::move(stream);
  handshake_.OnTls();
  phase_ = Phase::kHandshake;
}

void NbdSession::EnterTransmission() {
  if (phase_ != Phase::kHandshake) return;
  phase_ = Phase::kTransmission;
  engine_.scheduler().Disarm(deadline_);
  disk_ = handshake_.disk();
  terms_.disk_bytes = disk_->bytes();
  terms_.is_read_only = (disk_->transmission_flags() & nbd::kReadOnly) != 0;
  terms_.structured_replies = handshake_.structured_replies();
  terms_.contexts = handshake_.contexts();
}

bool NbdSession::SendCommandReplies() {
  while (!replies_.empty()) {
    std::array<iovec, kPiecesMax> pieces;
    size_t count = 0;
    for (NbdCommand* command = replies_.front(); command != nullptr && count + 2 <= kPiecesMax;
         command = replies_.After(*command)) {
      count += command->Unsent(&pieces[count]);
    }
    const ssize_t sent = stream_->Write({pieces.data(), count});
    if (sent == -EAGAIN) return false;
    if (sent < 0) {
      Close();
      return false;
    }
    for (size_t left = static_cast<size_t>(sent); left > 0;) {
      NbdCommand& command = *replies_.front();
      const size_t part = std::min(left, command.reply_bytes() - command.sent_bytes);
      command.sent_bytes += part;
      left -= part;
      if (command.sent_bytes < command.reply_bytes()) break;
      replies_.Remove(command);
      Recycle(command);
    }
  }
  return true;
}

// ---- In ----------------------------------------------------------------------------------------

void NbdSession::TakeInput(bool may_read) {
  is_blocked_ = false;
  waits_for_memory_ = false;
  is_drained_ = false;
  for (int reads = 0; reads < kReadsMax; ++reads) {
    while (TakeStep()) {
    }
    if (!may_read || !wants_read() || is_drained_ || !ReadMore()) return;
  }
  while (TakeStep()) {
  }
  // Others first. A socket would say so again; what TLS has deciphered already would not.
  if (wants_read() && stream_->has_buffered()) host_.OnChanged(*this);
}

bool NbdSession::TakeStep() {
  switch (phase_) {
    case Phase::kHandshake:
      return StepHandshake();
    case Phase::kTransmission:
      if (receiving_ != nullptr || skipped_bytes_ > 0) return StepPayload();
      return StepHeader();
    default:
      return false;
  }
}

bool NbdSession::StepHandshake() {
  if (buffered() == 0 || !handshake_.replies().empty()) return false;
  input_begin_ += handshake_.Take({input_.data() + input_begin_, buffered()});
  switch (handshake_.result()) {
    case NbdHandshake::Result::kBroken:
      Close();
      return false;
    case NbdHandshake::Result::kStartTls:
      phase_ = Phase::kTlsPending;
      break;
    default:
      break;
  }
  return SendHandshakeReplies();
}

bool NbdSession::StepHeader() {
  if (buffered() < nbd::kRequestHeaderBytes) return false;
  const std::optional<NbdRequest> request = ParseNbdRequest(input_.data() + input_begin_);
  if (!request) {
    Close();
    return false;
  }
  if (request->command == nbd::kCmdDisconnect) {
    BeginFarewell();
    return false;
  }
  const std::optional<NbdRefusal> refusal = CheckNbdRequest(*request, terms_);
  if (used_ >= kCommandsMax || (!refusal && !TryReserve(*request))) {
    is_blocked_ = true;
    return false;
  }
  input_begin_ += nbd::kRequestHeaderBytes;
  Begin(*request, refusal);
  return true;
}

bool NbdSession::StepPayload() {
  if (skipped_bytes_ > 0) {
    const size_t part = std::min<uint64_t>(skipped_bytes_, buffered());
    skipped_bytes_ -= part;
    input_begin_ += part;
    return skipped_bytes_ == 0;
  }
  NbdCommand& command = *receiving_;
  const size_t part = std::min(command.request.bytes - command.received_bytes, buffered());
  std::memcpy(command.buffer.data() + command.received_bytes, input_.data() + input_begin_, part);
  command.received_bytes += part;
  input_begin_ += part;
  if (command.received_bytes < command.request.bytes) return false;
  receiving_ = nullptr;
  Perform(command);
  return true;
}

bool NbdSession::ReadMore() {
  if (input_begin_ > 0) {
    std::memmove(input_.data(), input_.data() + input_begin_, buffered());
    input_end_ -= input_begin_;
    input_begin_ = 0;
  }
  std::array<iovec, 2> pieces;
  size_t count = 0;
  size_t asked = input_.size() - input_end_;
  if (receiving_ != nullptr) {
    const size_t rest = receiving_->request.bytes - receiving_->received_bytes;
    pieces[count++] = {receiving_->buffer.data() + receiving_->received_bytes, rest};
    asked += rest;
  }
  pieces[count++] = {input_.data() + input_end_, input_.size() - input_end_};
  const ssize_t got = stream_->Read({pieces.data(), count});
  if (got == -EAGAIN) return false;
  if (got < 0) {
    Close();
    return false;
  }
  if (got == 0) {
    BeginFarewell();
    return false;
  }
  Distribute(static_cast<size_t>(got));
  is_drained_ = static_cast<size_t>(got) < asked && stream_->gives_all_there_is();
  return true;
}

void NbdSession::Distribute(size_t bytes) {
  if (receiving_ != nullptr) {
    const size_t part = std::min(bytes, receiving_->request.bytes - receiving_->received_bytes);
    receiving_->received_bytes += part;
    bytes -= part;
  }
  input_end_ += bytes;
}

// ---- Requests ----------------------------------------------------------------------------------

bool NbdSession::TryReserve(const NbdRequest& request) {
  if (!request.needs_buffer() || request.bytes == 0) return true;
  if (bytes_ > 0 && bytes_ + request.bytes > kBytesMax) return false;
  if (host_.memory().TryTake(request.bytes, bytes_)) {
    bytes_ += request.bytes;
    return true;
  }
  waits_for_memory_ = true;
  return false;
}

NbdCommand& NbdSession::TakeCommand() {
  ++used_;
  if (NbdCommand* const command = free_.PopFront()) return *command;
  auto command = std::make_unique<NbdCommand>();
  command->session = this;
  command->completion = &OnGuestDone;
  command->query.on_done = &OnStatusDone;
  command->query.context = command.get();
  commands_.push_back(std::move(command));
  return *commands_.back();
}

absl::Status NbdSession::TakeBuffer(NbdCommand& command) {
  if (!command.request.needs_buffer() || command.request.bytes == 0) return absl::OkStatus();
  command.memory_bytes = command.request.bytes;
  MILLRACE_ASSIGN_OR_RETURN(command.buffer,
                            engine_.buffers().TryTake(command.request.bytes, "nbd request"));
  command.piece = {command.buffer.data(), command.request.bytes};
  return absl::OkStatus();
}

void NbdSession::GiveBuffer(NbdCommand& command) {
  command.buffer = IoBuffer();
  const uint64_t bytes = std::exchange(command.memory_bytes, 0);
  bytes_ -= bytes;
  if (bytes > 0 && host_.memory().Give(bytes)) host_.OnMemoryGiven();
}

void NbdSession::Recycle(NbdCommand& command) {
  GiveBuffer(command);
  free_.PushFront(command);
  --used_;
}

void NbdSession::Begin(const NbdRequest& request, const std::optional<NbdRefusal>& refusal) {
  NbdCommand& command = TakeCommand();
  command.request = request;
  command.received_bytes = 0;
  if (refusal) {
    Refuse(command, refusal->error, refusal->text);
    if (!request.has_payload()) return;
    // So much that nobody wants is not worth reading.
    if (request.bytes > nbd::kRequestBytesMax) return BeginFarewell();
    skipped_bytes_ = request.bytes;
    return;
  }
  if (const absl::Status status = TakeBuffer(command); !status.ok()) {
    Refuse(command, nbd::kEnomem, "no memory for the request");
    skipped_bytes_ = request.has_payload() ? request.bytes : 0;
    return;
  }
  if (request.has_payload() && request.bytes > 0) {
    receiving_ = &command;
    return;
  }
  Perform(command);
}

void NbdSession::Perform(NbdCommand& command) {
  const NbdRequest& request = command.request;
  const bool is_durable = (request.flags & nbd::kFlagFua) != 0 || disk_->is_writethrough();
  command.offset = request.offset;
  command.bytes = request.bytes;
  command.iov = {&command.piece, 1};
  command.force_unit_access = false;
  command.flushes_afterwards = false;
  command.may_unmap = true;
  switch (request.command) {
    case nbd::kCmdRead:
    case nbd::kCmdCache:  // what a read leaves behind in caches is the effect
      command.operation = GuestOperation::kRead;
      break;
    case nbd::kCmdWrite:
      command.operation = GuestOperation::kWrite;
      command.force_unit_access = is_durable;
      break;
    case nbd::kCmdTrim:
      command.operation = GuestOperation::kDiscard;
      command.flushes_afterwards = is_durable;
      break;
    case nbd::kCmdWriteZeroes:
      command.operation = GuestOperation::kWriteZeroes;
      command.may_unmap = (request.flags & nbd::kFlagNoHole) == 0;
      command.flushes_afterwards = is_durable;
      break;
    case nbd::kCmdBlockStatus:
      command.query.range = ByteRange(request.offset, request.bytes);
      command.query.contexts = terms_.contexts;
      command.query.extents_max = (request.flags & nbd::kFlagReqOne) != 0 ? 1 : kExtentsMax;
      ++in_flight_;
      return disk_->Ask(command.query);
    default:
      command.operation = GuestOperation::kFlush;
      return Submit(command);
  }
  if (request.bytes > 0) return Submit(command);
  command.Reply(terms_.structured_replies, nbd::kOk, {});
  Queue(command);
}

void NbdSession::Submit(NbdCommand& command) {
  ++in_flight_;
  if (disk_->port().Submit(command)) return;
  --in_flight_;
  Refuse(command, nbd::kEshutdown, "the export is being removed");
}

void NbdSession::Refuse(NbdCommand& command, uint32_t error, std::string_view text) {
  command.Reply(terms_.structured_replies, error, text);
  Queue(command);
}

void NbdSession::Queue(NbdCommand& command) {
  if (!command.sends_data) GiveBuffer(command);
  replies_.PushBack(command);
  host_.OnChanged(*this);
}

void NbdSession::OnGuestDone(GuestRequest& request) {
  auto& command = static_cast<NbdCommand&>(request);
  command.session->OnPerformed(command);
}

void NbdSession::OnPerformed(NbdCommand& command) {
  --in_flight_;
  if (phase_ == Phase::kClosed) {
    Recycle(command);
    return host_.OnChanged(*this);
  }
  if (command.status.ok() && std::exchange(command.flushes_afterwards, false)) {
    command.operation = GuestOperation::kFlush;
    return Submit(command);
  }
  command.Reply(terms_.structured_replies, NbdErrorOf(command.status),
                FromAbsl(command.status.message()));
  Queue(command);
}

void NbdSession::OnStatusDone(NbdStatusQuery& query) {
  auto& command = *static_cast<NbdCommand*>(query.context);
  command.session->OnStatus(command);
}

void NbdSession::OnStatus(NbdCommand& command) {
  --in_flight_;
  if (phase_ == Phase::kClosed) {
    Recycle(command);
    return host_.OnChanged(*this);
  }
  if (!command.query.status.ok()) {
    return Refuse(command, NbdErrorOf(command.query.status),
                  FromAbsl(command.query.status.message()));
  }
  command.ReplyExtents();
  Queue(command);
}

}  // namespace millrace
