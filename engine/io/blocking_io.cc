#include "millrace/engine/io/blocking_io.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

namespace millrace {
namespace {

// A window on a request's buffers, from a number of bytes onwards. The host takes at most IOV_MAX
// buffers in one call and may move fewer bytes than asked.
class IovWindow {
 public:
  IovWindow(absl::Span<const iovec> all, uint64_t skip) {
    if (skip == 0 && all.size() <= IOV_MAX) {
      entries_ = all.data();
      count_ = static_cast<int>(all.size());
      return;
    }
    for (const iovec& each : all) {
      if (skip >= each.iov_len) {
        skip -= each.iov_len;
        continue;
      }
      own_[static_cast<size_t>(count_++)] = {static_cast<char*>(each.iov_base) + skip,
                                             each.iov_len - skip};
      skip = 0;
      if (count_ == static_cast<int>(own_.size())) break;
    }
    entries_ = own_.data();
  }
  const iovec* entries() const { return entries_; }
  int count() const { return count_; }

 private:
  std::array<iovec, 64> own_;
  const iovec* entries_ = nullptr;
  int count_ = 0;
};

template <typename Call>
int64_t RetryInterrupted(Call call) {
  for (;;) {
    const auto result = call();
    if (result >= 0) return static_cast<int64_t>(result);
    if (errno != EINTR) return -errno;
  }
}

int64_t Fallocate(const IoRequest& request, int mode) {
  return RetryInterrupted([&] {
    return fallocate(request.file.number, mode, static_cast<off_t>(request.offset),
                     static_cast<off_t>(request.bytes));
  });
}

int64_t WriteZeroBuffers(const IoRequest& request) {
  alignas(4096) static constexpr char kZeroes[65536] = {};
  uint64_t done = 0;
  while (done < request.bytes) {
    const auto count =
        static_cast<size_t>(std::min<uint64_t>(sizeof(kZeroes), request.bytes - done));
    const int64_t result = RetryInterrupted([&] {
      return pwrite(request.file.number, kZeroes, count, static_cast<off_t>(request.offset + done));
    });
    if (result <= 0) return result < 0 ? result : -ENOSPC;
    done += static_cast<uint64_t>(result);
  }
  return 0;
}

int64_t WriteZeroes(const IoRequest& request) {
  int64_t result = Fallocate(request, FALLOC_FL_ZERO_RANGE);
  if (!IsRangeRefused(result)) return result;
  // Some file systems punch holes but cannot zero a range (tmpfs): punch, then allocate again.
  result = Fallocate(request, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
  if (result == 0) result = Fallocate(request, 0);
  if (!IsRangeRefused(result)) return result;
  return WriteZeroBuffers(request);
}

int64_t CopyRange(const IoRequest& request) {
  uint64_t done = 0;
  while (done < request.bytes) {
    auto from = static_cast<off64_t>(request.source_offset + done);
    auto to = static_cast<off64_t>(request.offset + done);
    const int64_t result = RetryInterrupted([&] {
      return copy_file_range(request.source.number, &from, request.file.number, &to,
                             static_cast<size_t>(request.bytes - done), 0);
    });
    if (result < 0) return done > 0 ? static_cast<int64_t>(done) : result;
    if (result == 0) break;  // the source ends here
    done += static_cast<uint64_t>(result);
  }
  return static_cast<int64_t>(done);
}

int64_t Transfer(const IoRequest& request) {
  uint64_t done = request.progress;
  const bool is_read = request.opcode == IoOpcode::kRead;
  while (done < request.bytes) {
    const IovWindow window(request.iov, done);
    const auto offset = static_cast<off_t>(request.offset + done);
    const int64_t result = RetryInterrupted([&] {
      return is_read ? preadv(request.file.number, window.entries(), window.count(), offset)
                     : pwritev(request.file.number, window.entries(), window.count(), offset);
    });
    if (result == 0 && is_read) break;
    if (result == 0) return -ENOSPC;
    // A direct read that ended at an unaligned end of file cannot go on from there.
    if (result == -EINVAL && is_read && done > 0) break;
    if (result < 0) return result;
    done += static_cast<uint64_t>(result);
  }
  return static_cast<int64_t>(done);
}

}  // namespace

// EINVAL: less than a sector of the device; EBUSY: somebody else uses pages of it.
bool IsRangeRefused(int64_t result) {
  return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENODEV || result == -EINVAL ||
         result == -EBUSY;
}

int64_t PerformBlocking(IoRequest& request) {
  switch (request.opcode) {
    case IoOpcode::kRead:
    case IoOpcode::kWrite:
      return Transfer(request);
    case IoOpcode::kSync:
      return RetryInterrupted([&] { return fdatasync(request.file.number); });
    case IoOpcode::kDiscard:
      return request.bytes == 0 ? 0
                                : Fallocate(request, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    case IoOpcode::kWriteZeroes:
      return request.bytes == 0 ? 0 : WriteZeroes(request);
    case IoOpcode::kTruncate:
      return RetryInterrupted(
          [&] { return ftruncate(request.file.number, static_cast<off_t>(request.offset)); });
    case IoOpcode::kCopyRange:
      return CopyRange(request);
    case IoOpcode::kMemory:
    case IoOpcode::kCall:
      request.result = 0;
      if (request.apply != nullptr) request.apply(request);
      return request.result;
  }
  return -EINVAL;
}

}  // namespace millrace
