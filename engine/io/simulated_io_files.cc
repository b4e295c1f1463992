// What requests do to the files of the simulation, and how files are opened, described and locked.
#include <algorithm>

#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/printable_name.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/io/lock_refusal.h"
#include "millrace/engine/io/simulated_io.h"

namespace millrace {

SimulatedIo::Open* SimulatedIo::Find(IoFile file) {
  if (file.number < 0 || static_cast<size_t>(file.number) >= opens_.size()) return nullptr;
  Open& open = opens_[static_cast<size_t>(file.number)];
  return open.file == nullptr ? nullptr : &open;
}

// ---- Effects -----------------------------------------------------------------------------------

int64_t SimulatedIo::Validate(IoRequest& request, Open*& open, Open*& source) {
  open = Find(request.file);
  if (open == nullptr) return -EBADF;
  const bool is_read = request.opcode == IoOpcode::kRead;
  if (!is_read && request.opcode != IoOpcode::kSync && !open->is_writable) return -EBADF;
  if (!ByteRange::IsRepresentable(request.offset, request.bytes)) return -EINVAL;
  if (!is_read && request.offset + request.bytes > SimulatedDisk::kFileBytesMax &&
      request.opcode != IoOpcode::kDiscard) {
    return -EFBIG;
  }
  if (request.opcode == IoOpcode::kCopyRange) {
    source = Find(request.source);
    if (source == nullptr) return -EBADF;
    if (!ByteRange::IsRepresentable(request.source_offset, request.bytes)) return -EINVAL;
  }
  if (open->is_direct && (is_read || request.opcode == IoOpcode::kWrite)) {
    const uint64_t alignment = disk_->options().io_alignment;
    uint64_t all = request.offset | request.bytes;
    // Of where memory lies nothing is asked: no seed would repeat it.
    for (const iovec& each : request.iov) all |= each.iov_len;
    if (!IsAligned(all, alignment)) return -EINVAL;
  }
  return 0;
}

bool SimulatedIo::HasSpace(const SimulatedFile& file, uint64_t offset, uint64_t bytes) const {
  const uint64_t capacity = disk_->options().capacity_bytes;
  if (capacity == UINT64_MAX) return true;
  uint64_t needed = 0;
  for (uint64_t page = AlignDown(offset, SparseImage::kPageBytes); page < offset + bytes;
       page += SparseImage::kPageBytes) {
    const FileExtent extent = file.current().FindExtent(page);
    if (extent.bytes == 0 || !extent.is_data) needed += SparseImage::kPageBytes;
  }
  const uint64_t used = disk_->allocated_bytes();
  return used <= capacity && needed <= capacity - used;
}

int64_t SimulatedIo::Read(const IoRequest& request, const SimulatedFile& file) const {
  uint64_t done = 0;
  for (const iovec& each : request.iov) {
    const size_t count = file.current().Read(request.offset + done,
                                             {static_cast<char*>(each.iov_base), each.iov_len});
    done += count;
    if (count < each.iov_len) break;
  }
  return static_cast<int64_t>(done);
}

int64_t SimulatedIo::CopyRange(const IoRequest& request, const SimulatedFile& source,
                               SimulatedFile& target) {
  if (!disk_->options().can_copy_range) return -EOPNOTSUPP;
  const uint64_t end = source.current().bytes();
  if (request.source_offset >= end) return 0;
  const uint64_t bytes = std::min(request.bytes, end - request.source_offset);
  if (!HasSpace(target, request.offset, bytes)) return -ENOSPC;
  scratch_.resize(static_cast<size_t>(bytes));
  source.current().Read(request.source_offset, absl::MakeSpan(scratch_));
  const iovec all = {scratch_.data(), scratch_.size()};
  target.Write(request.offset, absl::MakeConstSpan(&all, 1), bytes);
  return static_cast<int64_t>(bytes);
}

int64_t SimulatedIo::Perform(IoRequest& request, bool is_torn) {
  if (request.opcode == IoOpcode::kMemory || request.opcode == IoOpcode::kCall) {
    if (request.apply != nullptr) request.apply(request);
    return request.result;
  }
  Open* open = nullptr;
  Open* source = nullptr;
  if (const int64_t error = Validate(request, open, source); error != 0) return error;
  SimulatedFile& file = *open->file;
  switch (request.opcode) {
    case IoOpcode::kRead:
      return Read(request, file);
    case IoOpcode::kWrite: {
      if (request.bytes == 0) return 0;
      if (!HasSpace(file, request.offset, request.bytes)) return -ENOSPC;
      const uint64_t bytes = is_torn ? ChooseTear(request) : request.bytes;
      file.Write(request.offset, request.iov, bytes);
      return static_cast<int64_t>(bytes);
    }
    case IoOpcode::kSync:
      file.MakeDurable(request.progress);
      return 0;
    case IoOpcode::kDiscard:
      if (!disk_->options().can_discard) return -EOPNOTSUPP;
      file.Discard(request.offset, request.bytes);
      return 0;
    case IoOpcode::kWriteZeroes:
      if (!HasSpace(file, request.offset, request.bytes)) return -ENOSPC;
      if (request.bytes > 0) file.WriteZeroes(request.offset, request.bytes);
      return 0;
    case IoOpcode::kTruncate:
      file.Resize(request.offset);
      return 0;
    case IoOpcode::kCopyRange:
      return CopyRange(request, *source->file, file);
    default:
      return -EINVAL;
  }
}

// ---- Files -------------------------------------------------------------------------------------

int64_t SimulatedIo::CoCall(SimulatedOperation operation, std::string_view label,
                            absl::FunctionRef<void()> function) {
  IoRequest request;
  request.opcode = IoOpcode::kCall;
  request.offset = static_cast<uint64_t>(operation);
  request.label = label;
  request.apply_context = &function;
  request.apply = [](IoRequest& call) {
    (*static_cast<absl::FunctionRef<void()>*>(call.apply_context))();
  };
  return CoSubmit(*this, request);
}

absl::StatusOr<IoFile> SimulatedIo::OpenNow(const std::string& path, const OpenOptions& options) {
  SimulatedFile* file = disk_->Find(path);
  if (file == nullptr && !options.create) {
    return ErrnoStatus(ENOENT, StrCat("open '", PrintableName(path), "'"));
  }
  if (file != nullptr && options.create && !options.truncate) {
    return ErrnoStatus(EEXIST, StrCat("open '", PrintableName(path), "'"));
  }
  if (file == nullptr) {
    file = &disk_->Create(path);
  } else if (options.create) {
    file->Resize(0);
  }
  Open open;
  open.file = file;
  open.number = disk_->NextOpen();
  open.is_writable = options.writable;
  open.is_direct = options.direct;
  opens_.push_back(open);
  return IoFile{static_cast<int>(opens_.size()) - 1};
}

absl::StatusOr<IoFile> SimulatedIo::CoOpen(const std::string& path, const OpenOptions& options) {
  absl::StatusOr<IoFile> file = absl::InternalError("the open did not run");
  const int64_t result =
      CoCall(SimulatedOperation::kOpen, path, [&] { file = OpenNow(path, options); });
  if (result >= 0) return file;
  // The host reports an error although the file was opened: nobody will close it.
  if (file.ok()) opens_[static_cast<size_t>(file->number)].file = nullptr;
  return ErrnoStatus(static_cast<int>(-result), StrCat("open '", PrintableName(path), "'"));
}

absl::StatusOr<IoFile> SimulatedIo::Adopt(int descriptor) {
  return absl::InvalidArgumentError(
      StrCat("take over descriptor ", descriptor,
             ": a simulated engine has no descriptors of the host; open a file of its disk"));
}

void SimulatedIo::CoClose(IoFile file) {
  const Open* named = Find(file);
  MILLRACE_CHECK(named != nullptr, "closed a simulated file that is not open");
  CoCall(SimulatedOperation::kClose, named->file->path(), [] {});
  Open* open = Find(file);
  MILLRACE_CHECK(open != nullptr, "a simulated file was closed twice");
  MILLRACE_CHECK(open->in_flight == 0, "a simulated file was closed with requests in flight");
  open->file->UnlockAll(open->number);
  open->file = nullptr;
}

absl::StatusOr<FileInfo> SimulatedIo::CoStat(IoFile file) {
  const Open* open = Find(file);
  if (open == nullptr) return ErrnoStatus(EBADF, "stat a simulated file");
  const std::string_view path = open->file->path();
  FileInfo info;
  const int64_t result = CoCall(SimulatedOperation::kStat, path, [&] {
    const Open& now = *Find(file);
    info.bytes = now.file->current().bytes();
    info.allocated_bytes = now.file->current().allocated_bytes();
    info.device = 1;
    info.inode = now.file->number();
    info.io_alignment = now.is_direct ? disk_->options().io_alignment : 1;
  });
  if (result < 0) return ErrnoStatus(static_cast<int>(-result), StrCat("stat '", path, "'"));
  return info;
}

absl::StatusOr<FileExtent> SimulatedIo::CoFindExtent(IoFile file, uint64_t offset) {
  const Open* open = Find(file);
  if (open == nullptr) return ErrnoStatus(EBADF, "find an extent of a simulated file");
  const std::string_view path = open->file->path();
  FileExtent extent;
  const int64_t result = CoCall(SimulatedOperation::kFindExtent, path,
                                [&] { extent = Find(file)->file->current().FindExtent(offset); });
  if (result >= 0) return extent;
  return ErrnoStatus(static_cast<int>(-result),
                     StrCat("find data and holes of '", path, "' at ", offset));
}

int64_t SimulatedIo::CoCloneRange(IoFile source, uint64_t source_offset, IoFile target,
                                  uint64_t target_offset, uint64_t bytes) {
  constexpr uint64_t kBlock = 512;
  if (!disk_->options().can_clone) return -EOPNOTSUPP;
  if ((source_offset | target_offset | bytes) % kBlock != 0) return -EINVAL;
  IoRequest request;
  request.opcode = IoOpcode::kCopyRange;
  request.file = target;
  request.offset = target_offset;
  request.bytes = bytes;
  request.source = source;
  request.source_offset = source_offset;
  request.label = "clone";
  const int64_t result = CoSubmit(*this, request);
  if (result < 0) return result;
  return result == static_cast<int64_t>(bytes) ? 0 : -EINVAL;
}

// ---- Locks -------------------------------------------------------------------------------------

namespace {

absl::Status HeldByAnother(uint64_t byte, const std::string& holder) {
  return LockByteRefused(byte, ConflictHolder{.id = holder, .type = "simulated"});
}

}  // namespace

absl::Status SimulatedIo::CheckLockBytes(IoFile file, absl::Span<const uint64_t> shared_bytes) {
  const Open* open = Find(file);
  if (open == nullptr) return ErrnoStatus(EBADF, "lock a simulated file");
  for (uint64_t byte : shared_bytes) {
    const std::string holder = open->file->OtherHolder(open->number, byte, true);
    if (!holder.empty()) return HeldByAnother(byte, holder);
  }
  return absl::OkStatus();
}

absl::Status SimulatedIo::LockBytes(IoFile file, absl::Span<const uint64_t> shared_bytes) {
  MILLRACE_RETURN_IF_ERROR(CheckLockBytes(file, shared_bytes));
  const Open* open = Find(file);
  for (uint64_t byte : shared_bytes) {
    if (!open->file->IsLockedBy(open->number, byte)) open->file->LockShared(open->number, byte);
  }
  return absl::OkStatus();
}

void SimulatedIo::UnlockBytes(IoFile file, absl::Span<const uint64_t> bytes) {
  const Open* open = Find(file);
  if (open == nullptr) return;
  for (uint64_t byte : bytes) open->file->Unlock(open->number, byte);
}

absl::Status SimulatedIo::ProbeLocks(IoFile file, absl::Span<const uint64_t> bytes) {
  const Open* open = Find(file);
  if (open == nullptr) return ErrnoStatus(EBADF, "probe locks of a simulated file");
  for (uint64_t byte : bytes) {
    const std::string holder = open->file->OtherHolder(open->number, byte, false);
    if (!holder.empty()) return HeldByAnother(byte, holder);
  }
  return absl::OkStatus();
}

}  // namespace millrace
