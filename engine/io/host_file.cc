#include "millrace/engine/io/host_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/printable_name.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"

namespace millrace {
namespace {

// Right for every disk in use; too large is safe, too small is not.
constexpr uint32_t kDirectAlignmentDefault = 4096;

int OpenFlags(const OpenOptions& options) {
  // O_NONBLOCK: a pipe in place of an image must not hold up the open; cleared again below.
  int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  flags |= options.writable ? O_RDWR : O_RDONLY;
  if (options.direct) flags |= O_DIRECT;
  if (options.create) flags |= options.truncate ? O_CREAT | O_TRUNC : O_CREAT | O_EXCL;
  return flags;
}

absl::Status OpenError(int error, const std::string& path, const OpenOptions& options) {
  if (error == EINVAL && options.direct) {
    return WithErrno(absl::FailedPreconditionError(StrCat(
                         "open '", PrintableName(path),
                         "': its file system does not do direct I/O; open it without direct")),
                     error);
  }
  return ErrnoStatus(error, StrCat("open '", PrintableName(path), "'"));
}

absl::Status CheckKind(const struct stat& file) {
  if (S_ISREG(file.st_mode) || S_ISBLK(file.st_mode)) return absl::OkStatus();
  return WithErrno(absl::FailedPreconditionError(
                       "it is neither a regular file nor a block device; name one of these"),
                   S_ISDIR(file.st_mode) ? EISDIR : EINVAL);
}

uint32_t DirectAlignment(int descriptor, const struct stat& file) {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0 || (flags & O_DIRECT) == 0) return 1;
#ifdef STATX_DIOALIGN
  struct statx details = {};
  if (statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &details) == 0 &&
      (details.stx_mask & STATX_DIOALIGN) != 0 && details.stx_dio_offset_align != 0) {
    return std::max(details.stx_dio_mem_align, details.stx_dio_offset_align);
  }
#endif
  int sector = 0;
  if (S_ISBLK(file.st_mode) && ioctl(descriptor, BLKSSZGET, &sector) == 0 &&
      IsPowerOfTwo(static_cast<uint64_t>(sector))) {
    return static_cast<uint32_t>(sector);
  }
  return kDirectAlignmentDefault;
}

}  // namespace

absl::StatusOr<IoFile> OpenHostFile(const std::string& path, const OpenOptions& options) {
  int descriptor;
  do {
    descriptor = open(path.c_str(), OpenFlags(options), 0644);
  } while (descriptor < 0 && errno == EINTR);
  if (descriptor < 0) return OpenError(errno, path, options);
  absl::Cleanup closer = [descriptor] { close(descriptor); };
  if (absl::Status status = CheckHostFile(descriptor); !status.ok()) {
    return WithErrno(absl::Status(status.code(), StrCat("open '", PrintableName(path),
                                                        "': ", FromAbsl(status.message()))),
                     ErrnoOf(status));
  }
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0 || fcntl(descriptor, F_SETFL, flags & ~O_NONBLOCK) != 0) {
    return ErrnoStatus(errno, StrCat("open '", PrintableName(path), "'"));
  }
  std::move(closer).Cancel();
  return IoFile{descriptor};
}

absl::StatusOr<OpenedIoFile> OpenAndStatHostFile(const std::string& path,
                                                 const OpenOptions& options) {
  OpenedIoFile opened;
  MILLRACE_ASSIGN_OR_RETURN(opened.file, OpenHostFile(path, options));
  absl::StatusOr<FileInfo> info = StatHostFile(opened.file.number);
  if (!info.ok()) {
    close(opened.file.number);
    return info.status();
  }
  opened.info = *info;
  return opened;
}

absl::Status CheckHostFile(int descriptor) {
  struct stat file;
  if (fstat(descriptor, &file) != 0) return ErrnoStatus(errno, "fstat");
  return CheckKind(file);
}

absl::StatusOr<FileInfo> StatHostFile(int descriptor) {
  struct stat file;
  if (fstat(descriptor, &file) != 0) return ErrnoStatus(errno, "fstat");
  FileInfo info;
  info.is_regular = S_ISREG(file.st_mode);
  info.bytes = static_cast<uint64_t>(file.st_size);
  if (!info.is_regular) {
    const off_t end = lseek(descriptor, 0, SEEK_END);
    if (end < 0) return ErrnoStatus(errno, "find the size of a block device");
    info.bytes = static_cast<uint64_t>(end);
  }
  info.allocated_bytes = static_cast<uint64_t>(file.st_blocks) * 512;
  info.device = info.is_regular ? file.st_dev : file.st_rdev;
  info.inode = info.is_regular ? file.st_ino : 0;
  info.io_alignment = DirectAlignment(descriptor, file);
  return info;
}

absl::StatusOr<FileExtent> FindHostExtent(int descriptor, uint64_t offset) {
  const off_t end = lseek(descriptor, 0, SEEK_END);
  if (end < 0) return ErrnoStatus(errno, "find the end of the file");
  if (offset >= static_cast<uint64_t>(end)) return FileExtent{};
  const uint64_t rest = static_cast<uint64_t>(end) - offset;
  const auto start = static_cast<off_t>(offset);
  const off_t data = lseek(descriptor, start, SEEK_DATA);
  if (data < 0 && errno == ENXIO) return FileExtent{rest, false};
  // A host that does not know holes has none.
  if (data < 0) return FileExtent{rest, true};
  if (data > start) return FileExtent{std::min(rest, static_cast<uint64_t>(data - start)), false};
  const off_t hole = lseek(descriptor, start, SEEK_HOLE);
  if (hole <= start) return FileExtent{rest, true};
  return FileExtent{std::min(rest, static_cast<uint64_t>(hole - start)), true};
}

}  // namespace millrace
