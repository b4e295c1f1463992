#include "millrace/graph/drivers/file.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/printable_name.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/io/image_locks.h"
#include "millrace/graph/io/open_gate.h"

namespace millrace {
namespace {

bool IsUnsupported(int64_t result) {
  return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENODEV;
}

std::string_view WhatToDoAbout(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return "check the name, and what it is relative to";
    case EEXIST:
      return "choose another name, or have it replaced";
    case EACCES:
    case EPERM:
      return "check who may use the file and the folders that lead to it";
    case EROFS:
      return "open it read-only";
    case EISDIR:
      return "name a regular file or a block device";
    case ELOOP:
      return "check the symbolic links that lead to it";
    case ENOSPC:
    case EDQUOT:
      return "make room on its file system";
    default:
      return "see what the host says of this file";
  }
}

// The same errno, with a conflict, and what to do.
absl::Status HostRefusesFile(const std::string& path, const absl::Status& status) {
  const int error_number = ErrnoOf(status);
  std::string_view text = FromAbsl(status.message());
  std::string_view next_step = WhatToDoAbout(error_number);
  // What it is refused for by our own rules says already what to do.
  const size_t end = text.rfind("; ");
  if (absl::IsFailedPrecondition(status) && end != text.npos) {
    next_step = text.substr(end + 2);
    text = text.substr(0, end);
  }
  Conflict conflict;
  conflict.reason = ConflictReason::kHostFile;
  conflict.object = path;
  conflict.next_step = std::string(next_step);
  return WithErrno(RefusalStatus(status.code(), conflict, text), error_number);
}

class FileDriver final : public ProtocolDriver {
 public:
  explicit FileDriver(FileOptions options) : options_(std::move(options)) {}
  ~FileDriver() override {
    // Never opened: the descriptor is ours to close all the same.
    if (context_ == nullptr && options_.descriptor >= 0) close(options_.descriptor);
  }

  std::string_view driver_name() const override { return "file"; }
  uint64_t bytes() const override { return bytes_; }
  uint32_t io_alignment() const override { return info_.io_alignment; }
  std::string filename() const override { return options_.path; }
  bool is_known_by_filename() const override { return true; }
  DiscardCounts discard_counts() const override { return discards_; }
  std::optional<FileIdentity> identity() const override {
    return FileIdentity{info_.device, info_.inode};
  }

  absl::Status CoOpen(DriverContext& context) override MILLRACE_MAY_SUSPEND;
  void CoClose() override MILLRACE_MAY_SUSPEND;
  absl::Status CoPrepareReopen(bool writable) override MILLRACE_MAY_SUSPEND;
  absl::Status RehearseReopen(bool writable) override;
  void CommitReopen(bool writable) override;
  void CoAbortReopen(bool writable) override MILLRACE_MAY_SUSPEND;
  absl::Status PreparePermissions(Permissions cumulative) override;
  void CommitPermissions() override;
  void AbortPermissions() override;
  absl::Status RehearsePermissions(Permissions cumulative) override;

  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND;
  absl::Status CoReadScattered(absl::Span<const IoPart> parts) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteScattered(absl::Span<const IoPart> parts) override MILLRACE_MAY_SUSPEND;
  bool CoShareFrom(ProtocolDriver& source, absl::Span<const FileShare> shares, ShareBy by) override
      MILLRACE_MAY_SUSPEND;
  bool CoMayShareWith(const ProtocolDriver& source, ShareBy by) override MILLRACE_MAY_SUSPEND;
  bool may_share(ShareBy by) const override {
    const bool clones = by == ShareBy::kSameBlocks || info_.io_alignment != 1;
    return (clones ? can_clone_ : can_copy_).value_or(true);
  }
  IoFile io_file() const override { return file_; }
  void CoStartWriteback(absl::Span<const ByteRange> ranges) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND;
  bool has_unflushed_changes() const override {
    return changes_ != flushed_changes_ || !flush_error_.ok();
  }
  absl::Status CoResize(uint64_t new_bytes) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<Extent> CoMap(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<uint64_t> CoAllocatedBytes() override MILLRACE_MAY_SUSPEND;

 private:
  IoBackend& io() const { return context_->engine().io(); }
  std::string Text(std::string_view what) const {
    return StrCat(what, " '", PrintableName(options_.path), "'");
  }
  absl::Status CoOpenFile(bool writable) MILLRACE_MAY_SUSPEND;
  // The same file once more; `what` is for the text of an error.
  absl::StatusOr<IoFile> CoOpenAgain(const OpenOptions& mode, std::string_view what)
      MILLRACE_MAY_SUSPEND;
  absl::StatusOr<IoFile> CoCachedFile() MILLRACE_MAY_SUSPEND;
  void CloseLater(IoFile file);
  absl::Status CheckDescriptor(bool writable) const;
  absl::Status CheckConfined() const;
  absl::Status OrWithoutLocks(absl::Status status);
  absl::Status IfItCounts(absl::Status status) const;
  void ReleaseReserved() {
    if (locks_ != nullptr) locks_->DropReserve();
  }
  void Prepare(IoRequest& request, IoOpcode opcode, uint64_t offset, const IoVector& memory) const;
  // Returns bytes moved or -errno.
  int64_t CoTransfer(IoFile file, IoOpcode opcode, uint64_t offset, const IoVector& memory)
      MILLRACE_MAY_SUSPEND;
  // What the result of a transfer means.
  absl::Status FinishRead(uint64_t offset, const IoVector& target, int64_t result);
  absl::Status FinishWrite(uint64_t offset, const IoVector& source, int64_t result);
  absl::Status CoScattered(IoOpcode opcode, absl::Span<const IoPart> parts) MILLRACE_MAY_SUSPEND;
  bool MustClone(const ProtocolDriver& source, ShareBy by) const;
  bool CoCopyFrom(IoFile source, absl::Span<const FileShare> shares) MILLRACE_MAY_SUSPEND;
  bool CoCloneFrom(IoFile source, absl::Span<const FileShare> shares) MILLRACE_MAY_SUSPEND;
  int64_t CoRange(IoOpcode opcode, ByteRange range) MILLRACE_MAY_SUSPEND;
  absl::Status ErrorAt(std::string_view what, uint64_t offset, int64_t result) const {
    return ErrnoStatus(static_cast<int>(-result), StrCat(Text(what), " at ", offset));
  }
  void GrowTo(uint64_t end) { bytes_ = std::max(bytes_, end); }
  // After each request that may have changed the file, also one that failed.
  void NoteIfChange(IoOpcode opcode) {
    if (opcode != IoOpcode::kRead && opcode != IoOpcode::kSync) ++changes_;
  }

  const FileOptions options_;
  DriverContext* context_ = nullptr;
  IoFile file_;
  // Between CoPrepareReopen and its end the other descriptor: the new one if it is read-only, else
  // the old one. A format prepares after its file, and may have to repair its image for writing.
  IoFile other_;
  // Of a direct file, through the host's cache: for what lies behind its last whole block. Made by
  // the first who needs it; invalid while the node is read-only.
  IoFile cached_;
  FileInfo info_;  // as opened; but for the size
  uint64_t bytes_ = 0;
  std::unique_ptr<ImageLocks> locks_;  // null: locking is off
  // Closes what CommitReopen, which must not suspend, let go of.
  std::unique_ptr<TaskScope> closers_;
  std::vector<IoFile> unclosed_;  // for want of a coroutine; closed at the end
  bool can_punch_ = true;
  // Whether the host brings bytes of another file; not known before it was tried.
  std::optional<bool> can_copy_;
  std::optional<bool> can_clone_;
  DiscardCounts discards_;
  absl::Status flush_error_;
  uint64_t changes_ = 0;
  uint64_t flushed_changes_ = 0;  // those that the last flush has made durable
};

// ---- Opening, closing, changing the mode --------------------------------------------------------

absl::Status FileDriver::CheckDescriptor(bool writable) const {
  const int flags = fcntl(options_.descriptor, F_GETFL);
  if (flags < 0) return ErrnoStatus(errno, Text("inspect the descriptor of"));
  const int mode = flags & O_ACCMODE;
  if (mode == O_RDWR || (mode == O_RDONLY && !writable)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat(Text("open"), " from descriptor ", options_.descriptor, ": it is open ",
             mode == O_RDONLY ? "for reading only; pass one open for reading and writing, or open "
                                "the node read-only"
                              : "for writing only; pass one that can be read"));
}

// Asks the host where the file that is open now really lies, so no link can change in between.
absl::Status FileDriver::CheckConfined() const {
  if (options_.open_root.empty()) return absl::OkStatus();
  char where[PATH_MAX];
  const std::string link = StrCat("/proc/self/fd/", file_.number);
  const ssize_t length = readlink(link.c_str(), where, sizeof(where));
  if (length < 0) return ErrnoStatus(errno, Text("find out where the host keeps"));
  if (LiesBelow(std::string_view(where, static_cast<size_t>(length)), options_.open_root)) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(StrCat(Text("open"), ": it lies outside of '",
                                            options_.open_root,
                                            "', where a symbolic link leads; move it there, or "
                                            "widen the open root"));
}

// Opens or takes over file_, and describes it.
absl::Status FileDriver::CoOpenFile(bool writable) {
  if (options_.descriptor >= 0) {
    file_ = IoFile{options_.descriptor};  // ours to close, whatever comes
    MILLRACE_ASSIGN_OR_RETURN(file_, io().Adopt(options_.descriptor));
    MILLRACE_RETURN_IF_ERROR(CheckDescriptor(writable));
    MILLRACE_ASSIGN_OR_RETURN(info_, io().CoStat(file_));
    return absl::OkStatus();
  }
  const absl::StatusOr<OpenedIoFile> opened =
      io().CoOpenAndStat(options_.path, {.writable = writable, .direct = options_.direct});
  if (opened.ok()) {
    file_ = opened->file;
    info_ = opened->info;
    return absl::OkStatus();
  }
  return HostRefusesFile(options_.path, opened.status());
}

absl::Status FileDriver::CoOpen(DriverContext& context) {
  context_ = &context;
  closers_ = std::make_unique<TaskScope>(context.engine().scheduler(), "file/close");
  MILLRACE_RETURN_IF_ERROR(CoOpenFile(!context.is_read_only()));
  MILLRACE_RETURN_IF_ERROR(CheckConfined());
  if (options_.locking != FileLocking::kOff) {
    // Who lets go of it may cut it first.
    if (context.CoWaitWhileLettingGoOf({info_.device, info_.inode})) {
      MILLRACE_ASSIGN_OR_RETURN(info_, io().CoStat(file_));
    }
    locks_ = std::make_unique<ImageLocks>(
        io(), file_, PrintableName(options_.path), [this](const Permissions& need) {
          return context_->OthersWithFile({info_.device, info_.inode}, need);
        });
  }
  bytes_ = info_.bytes;
  return absl::OkStatus();
}

void FileDriver::CoClose() {
  if (context_ == nullptr) return;
  // Others may share our open file description (an inherited descriptor), so closing is not enough.
  if (locks_ != nullptr) locks_->Release();
  if (other_.is_valid()) io().CoClose(std::exchange(other_, IoFile()));
  if (cached_.is_valid()) io().CoClose(std::exchange(cached_, IoFile()));
  if (file_.is_valid()) io().CoClose(std::exchange(file_, IoFile()));
  for (const IoFile& file : unclosed_) io().CoClose(file);
  closers_->CoJoin().IgnoreError();
}

absl::StatusOr<IoFile> FileDriver::CoOpenAgain(const OpenOptions& mode, std::string_view what) {
  // By way of the descriptor it is the same file, even if its name means another one by now.
  absl::StatusOr<OpenedIoFile> opened =
      io().CoOpenAndStat(StrCat("/proc/self/fd/", file_.number), mode);
  if (absl::IsNotFound(opened.status())) {
    opened = io().CoOpenAndStat(options_.path, mode);  // no /proc here
  }
  if (!opened.ok()) return ErrnoStatus(ErrnoOf(opened.status()), Text(what));
  if (opened->info.device == info_.device && opened->info.inode == info_.inode) {
    return opened->file;
  }
  io().CoClose(opened->file);
  return absl::FailedPreconditionError(
      StrCat(Text("reopen"), ": the path names another file by now; open that one anew"));
}

// Two at once would both open it: the caller lets in one at a time.
absl::StatusOr<IoFile> FileDriver::CoCachedFile() {
  if (!cached_.is_valid()) {
    MILLRACE_ASSIGN_OR_RETURN(
        cached_, CoOpenAgain({.writable = true}, "open again, for less than a block at its end,"));
  }
  return cached_;
}

void FileDriver::CloseLater(IoFile file) {
  if (!closers_->Spawn("file/close", [this, file]() MILLRACE_MAY_SUSPEND { io().CoClose(file); })) {
    unclosed_.push_back(file);
  }
}

absl::Status FileDriver::CoPrepareReopen(bool writable) {
  MILLRACE_ASSIGN_OR_RETURN(other_,
                            CoOpenAgain({.writable = writable, .direct = info_.io_alignment > 1},
                                        writable ? "reopen for writing" : "reopen read-only"));
  // The graph asks for this again when it commits; until then nobody may object to a repair,
  // whatever else is edited meanwhile.
  if (writable && locks_ != nullptr) {
    absl::Status status = OrWithoutLocks(locks_->Reserve(kWrite));
    if (!status.ok()) {
      io().CoClose(std::exchange(other_, IoFile()));
      return status;
    }
  }
  if (writable) std::swap(file_, other_);
  return absl::OkStatus();
}

absl::Status FileDriver::RehearseReopen(bool writable) {
  if (!writable || locks_ == nullptr) return absl::OkStatus();
  return IfItCounts(locks_->RehearseReserve(kWrite));
}

void FileDriver::CommitReopen(bool writable) {
  if (!other_.is_valid()) return;
  if (!writable) std::swap(file_, other_);
  const IoFile old = std::exchange(other_, IoFile());
  ReleaseReserved();
  if (locks_ != nullptr) {
    if (absl::Status moved = locks_->MoveTo(file_); !moved.ok()) {
      context_->LogWarning(StrCat("image locks are lost: ", FromAbsl(moved.message())));
      locks_.reset();
    }
  }
  CloseLater(old);
  if (!writable && cached_.is_valid()) CloseLater(std::exchange(cached_, IoFile()));
}

void FileDriver::CoAbortReopen(bool writable) {
  if (!other_.is_valid()) return;
  if (writable) std::swap(file_, other_);
  ReleaseReserved();
  io().CoClose(std::exchange(other_, IoFile()));
}

absl::Status FileDriver::PreparePermissions(Permissions cumulative) {
  if (locks_ == nullptr) return absl::OkStatus();
  return OrWithoutLocks(locks_->Prepare(cumulative));
}

absl::Status FileDriver::RehearsePermissions(Permissions cumulative) {
  if (locks_ == nullptr) return absl::OkStatus();
  return IfItCounts(locks_->Rehearse(cumulative));
}

// A failure to lock, as it is told. A host that cannot lock is no obstacle, unless the user says
// so.
absl::Status FileDriver::IfItCounts(absl::Status status) const {
  if (status.ok() || absl::IsFailedPrecondition(status)) return status;
  if (options_.locking != FileLocking::kOn) return absl::OkStatus();
  return WithErrno(
      absl::Status(status.code(), StrCat(Text("lock"), ": ", FromAbsl(status.message()),
                                         "; turn locking off for files of this file system")),
      ErrnoOf(status));
}

// What to do about a failure to lock: where the host cannot, go on without, if the user lets us.
absl::Status FileDriver::OrWithoutLocks(absl::Status status) {
  const absl::Status told = IfItCounts(status);
  if (status.ok() || !told.ok()) return told;
  context_->LogWarning(StrCat("the host cannot lock this file, so others are not kept off: ",
                              FromAbsl(status.message())));
  locks_.reset();
  return absl::OkStatus();
}

void FileDriver::CommitPermissions() {
  if (locks_ != nullptr) locks_->Commit();
}

void FileDriver::AbortPermissions() {
  if (locks_ != nullptr) locks_->Abort();
}

// ---- Bytes --------------------------------------------------------------------------------------

void FileDriver::Prepare(IoRequest& request, IoOpcode opcode, uint64_t offset,
                         const IoVector& memory) const {
  request.opcode = opcode;
  request.file = file_;
  request.offset = offset;
  request.bytes = memory.bytes();
  request.iov = memory.pieces();
  request.label = context_->node_name();
}

int64_t FileDriver::CoTransfer(IoFile file, IoOpcode opcode, uint64_t offset,
                               const IoVector& memory) {
  IoRequest request;
  Prepare(request, opcode, offset, memory);
  request.file = file;
  const int64_t result = CoSubmit(io(), request);
  NoteIfChange(opcode);
  return result;
}

int64_t FileDriver::CoRange(IoOpcode opcode, ByteRange range) {
  IoRequest request;
  request.opcode = opcode;
  request.file = file_;
  request.offset = range.offset;
  request.bytes = range.bytes;
  request.label = context_->node_name();
  const int64_t result = CoSubmit(io(), request);
  NoteIfChange(opcode);
  return result;
}

absl::Status FileDriver::FinishRead(uint64_t offset, const IoVector& target, int64_t result) {
  if (result < 0) return ErrorAt("read", offset, result);
  const auto read = static_cast<uint64_t>(result);
  if (read < target.bytes()) target.Fill(read, 0, target.bytes() - read);  // beyond the end
  return absl::OkStatus();
}

absl::Status FileDriver::FinishWrite(uint64_t offset, const IoVector& source, int64_t result) {
  if (result < 0) return ErrorAt("write", offset, result);
  if (static_cast<uint64_t>(result) < source.bytes()) return ErrorAt("write", offset, -ENOSPC);
  GrowTo(offset + source.bytes());
  return absl::OkStatus();
}

absl::Status FileDriver::CoScattered(IoOpcode opcode, absl::Span<const IoPart> parts) {
  std::vector<IoRequest> requests(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    Prepare(requests[i], opcode, parts[i].offset, parts[i].memory);
  }
  CoSubmitAll(io(), absl::MakeSpan(requests));
  NoteIfChange(opcode);
  absl::Status status;
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t result = requests[i].result;
    status.Update(opcode == IoOpcode::kRead
                      ? FinishRead(parts[i].offset, parts[i].memory, result)
                      : FinishWrite(parts[i].offset, parts[i].memory, result));
  }
  return status;
}

absl::Status FileDriver::CoReadScattered(absl::Span<const IoPart> parts) {
  return CoScattered(IoOpcode::kRead, parts);
}

absl::Status FileDriver::CoWriteScattered(absl::Span<const IoPart> parts) {
  return CoScattered(IoOpcode::kWrite, parts);
}

bool FileDriver::CoMayShareWith(const ProtocolDriver& source, ShareBy by) {
  const std::optional<FileIdentity> other = source.identity();
  const IoFile from = source.io_file();
  if (!from.is_valid() || !other || other->device != info_.device || other->inode == info_.inode) {
    return false;
  }
  if (!MustClone(source, by)) return can_copy_.value_or(true);
  if (!can_clone_) {
    // Ill-aligned, so that nothing can come of it: a host that could refuses it for that.
    can_clone_ = io().CoCloneRange(from, 0, file_, 1, 1) == -EINVAL;
  }
  return *can_clone_;
}

// The host copies through its cache, which direct I/O is there to avoid; sharing does not.
bool FileDriver::MustClone(const ProtocolDriver& source, ShareBy by) const {
  return by == ShareBy::kSameBlocks || info_.io_alignment != 1 || source.io_alignment() != 1;
}

bool FileDriver::CoShareFrom(ProtocolDriver& source, absl::Span<const FileShare> shares,
                             ShareBy by) {
  const IoFile from = source.io_file();
  const bool clones = MustClone(source, by);
  const bool is_done = clones ? CoCloneFrom(from, shares) : CoCopyFrom(from, shares);
  ++changes_;
  std::optional<bool>& can = clones ? can_clone_ : can_copy_;
  can = is_done && can.value_or(true);
  if (!is_done) return false;
  for (const FileShare& share : shares) GrowTo(share.target_offset + share.bytes);
  return true;
}

bool FileDriver::CoCopyFrom(IoFile source, absl::Span<const FileShare> shares) {
  std::vector<IoRequest> requests(shares.size());
  for (size_t i = 0; i < shares.size(); ++i) {
    requests[i].opcode = IoOpcode::kCopyRange;
    requests[i].file = file_;
    requests[i].offset = shares[i].target_offset;
    requests[i].bytes = shares[i].bytes;
    requests[i].source = source;
    requests[i].source_offset = shares[i].source_offset;
    requests[i].label = context_->node_name();
  }
  CoSubmitAll(io(), absl::MakeSpan(requests));
  return std::all_of(requests.begin(), requests.end(), [](const IoRequest& request) {
    return request.result == static_cast<int64_t>(request.bytes);
  });
}

bool FileDriver::CoCloneFrom(IoFile source, absl::Span<const FileShare> shares) {
  for (const FileShare& share : shares) {
    if (io().CoCloneRange(source, share.source_offset, file_, share.target_offset, share.bytes) !=
        0) {
      return false;
    }
  }
  return true;
}

void FileDriver::CoStartWriteback(absl::Span<const ByteRange> ranges) {
  const bool is_cached_by_host = info_.io_alignment == 1;
  if (is_cached_by_host && !ranges.empty()) io().CoStartWriteback(file_, ranges);
}

absl::Status FileDriver::CoRead(uint64_t offset, const IoVector& target) {
  if (target.bytes() == 0) return absl::OkStatus();
  return FinishRead(offset, target, CoTransfer(file_, IoOpcode::kRead, offset, target));
}

absl::Status FileDriver::CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) {
  // Every byte of a file is its own: nothing is unallocated.
  if (source.bytes() == 0 || flags.only_if_unallocated) return absl::OkStatus();
  IoFile file = file_;
  if (!IsAligned(offset | source.bytes(), info_.io_alignment)) {
    MILLRACE_ASSIGN_OR_RETURN(file, CoCachedFile());
  }
  const int64_t result = CoTransfer(file, IoOpcode::kWrite, offset, source);
  MILLRACE_RETURN_IF_ERROR(FinishWrite(offset, source, result));
  return flags.force_unit_access ? CoFlush() : absl::OkStatus();
}

absl::Status FileDriver::CoWriteZeroes(ByteRange range, ZeroFlags flags) {
  if (range.empty() || flags.only_if_unallocated) return absl::OkStatus();
  // A punched hole reads as zeroes, but does not make the file longer.
  if (flags.may_unmap && can_punch_ && range.end() <= bytes_) {
    const int64_t result = CoRange(IoOpcode::kDiscard, range);
    if (result >= 0) return absl::OkStatus();
    // Not just now, or not this little (a device's sectors are larger): the next may be.
    const bool is_for_now = result == -EINVAL || result == -EBUSY;
    if (!is_for_now && !IsUnsupported(result)) {
      return ErrorAt("write zeroes to", range.offset, result);
    }
    if (!is_for_now) can_punch_ = false;
  }
  const int64_t result = CoRange(IoOpcode::kWriteZeroes, range);
  if (result < 0) return ErrorAt("write zeroes to", range.offset, result);
  GrowTo(range.end());
  return absl::OkStatus();
}

absl::Status FileDriver::CoDiscard(ByteRange range) {
  if (range.empty() || !can_punch_) return absl::OkStatus();
  const int64_t result = CoRange(IoOpcode::kDiscard, range);
  if (result >= 0) {
    ++discards_.succeeded;
    discards_.bytes += range.bytes;
    return absl::OkStatus();
  }
  ++discards_.failed;
  if (IsUnsupported(result)) {
    can_punch_ = false;
    return absl::OkStatus();
  }
  // A device discards in units of its own; less than one stays as it is, and what is in use.
  const bool stays = result == -EINVAL || result == -EBUSY;
  if (stays && !info_.is_regular) return absl::OkStatus();
  return ErrorAt("discard", range.offset, result);
}

absl::Status FileDriver::CoFlush() {
  if (!flush_error_.ok()) return flush_error_;
  const uint64_t changes = changes_;  // what comes while the host flushes is for the next
  const int64_t result = CoRange(IoOpcode::kSync, ByteRange());
  if (result >= 0) {
    flushed_changes_ = std::max(flushed_changes_, changes);
    return absl::OkStatus();
  }
  absl::Status status = ErrnoStatus(static_cast<int>(-result), Text("flush"));
  if (info_.io_alignment == 1 || cached_.is_valid()) flush_error_ = status;
  return status;
}

absl::Status FileDriver::CoResize(uint64_t new_bytes) {
  if (!info_.is_regular) {
    if (new_bytes == bytes_) return absl::OkStatus();
    return absl::UnimplementedError(StrCat(Text("resize"), " to ", new_bytes,
                                           " bytes: it is a device of ", bytes_,
                                           " bytes; resize it on the host"));
  }
  const int64_t result = CoRange(IoOpcode::kTruncate, ByteRange(new_bytes, 0));
  if (result < 0) {
    return ErrnoStatus(static_cast<int>(-result),
                       StrCat(Text("resize"), " to ", new_bytes, " bytes"));
  }
  bytes_ = new_bytes;
  return absl::OkStatus();
}

absl::StatusOr<Extent> FileDriver::CoMap(ByteRange range) {
  MILLRACE_ASSIGN_OR_RETURN(const FileExtent found, io().CoFindExtent(file_, range.offset));
  Extent extent;
  extent.host = HostOffset(range.offset);
  // Beyond the end of the file there are zeroes.
  extent.kind = found.is_data && found.bytes > 0 ? ExtentKind::kData : ExtentKind::kZero;
  extent.bytes = found.bytes == 0 ? range.bytes : std::min(found.bytes, range.bytes);
  return extent;
}

absl::StatusOr<uint64_t> FileDriver::CoAllocatedBytes() {
  MILLRACE_ASSIGN_OR_RETURN(const FileInfo info, io().CoStat(file_));
  return info.allocated_bytes;
}

}  // namespace

std::unique_ptr<ProtocolDriver> MakeFileDriver(FileOptions options) {
  return std::make_unique<FileDriver>(std::move(options));
}

absl::Status CoCreateFile(Engine& engine, const std::string& path, uint64_t bytes) {
  IoBackend& io = engine.io();
  const absl::StatusOr<IoFile> created = io.CoOpen(path, {.writable = true, .create = true});
  if (!created.ok()) return HostRefusesFile(path, created.status());
  const IoFile file = *created;
  IoRequest request;
  request.opcode = IoOpcode::kTruncate;
  request.file = file;
  request.offset = bytes;
  request.label = path;
  const int64_t result = CoSubmit(io, request);
  io.CoClose(file);
  if (result >= 0) return absl::OkStatus();
  return ErrnoStatus(static_cast<int>(-result), StrCat("resize '", path, "' to ", bytes, " bytes"));
}

}  // namespace millrace
