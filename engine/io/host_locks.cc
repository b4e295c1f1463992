#include "millrace/engine/io/host_locks.h"

#include <fcntl.h>

#include <cerrno>
#include <optional>

#include "absl/container/inlined_vector.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/io/lock_holder.h"
#include "millrace/engine/io/lock_refusal.h"

namespace millrace {
namespace {

struct flock ByteLock(short type, uint64_t byte) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(byte);
  lock.l_len = 1;
  return lock;
}

// Returns 0 or an errno.
int SetLock(int descriptor, short type, uint64_t byte) {
  struct flock lock = ByteLock(type, byte);
  while (fcntl(descriptor, F_OFD_SETLK, &lock) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

absl::Status HeldByAnotherProcess(int descriptor, uint64_t byte, int owner_pid) {
  const std::optional<ConflictHolder> holder =
      owner_pid > 0 ? ProcessHolder(owner_pid) : FindLockHolder(descriptor, byte);
  return LockByteRefused(byte, holder);
}

}  // namespace

absl::Status HostLocks::LockShared(int descriptor, absl::Span<const uint64_t> bytes) {
  absl::btree_set<uint64_t>& held = held_[descriptor];
  absl::InlinedVector<uint64_t, 16> taken;
  for (uint64_t byte : bytes) {
    if (held.contains(byte)) continue;
    const int error = SetLock(descriptor, F_RDLCK, byte);
    if (error == 0) {
      held.insert(byte);
      taken.push_back(byte);
      continue;
    }
    Unlock(descriptor, taken);
    if (error != EAGAIN && error != EACCES) {
      return ErrnoStatus(error, StrCat("lock byte ", byte));
    }
    struct flock conflict = ByteLock(F_RDLCK, byte);
    const bool is_known =
        fcntl(descriptor, F_OFD_GETLK, &conflict) == 0 && conflict.l_type != F_UNLCK;
    return HeldByAnotherProcess(descriptor, byte, is_known ? conflict.l_pid : 0);
  }
  return absl::OkStatus();
}

void HostLocks::Unlock(int descriptor, absl::Span<const uint64_t> bytes) {
  auto entry = held_.find(descriptor);
  if (entry == held_.end()) return;
  for (uint64_t byte : bytes) {
    if (entry->second.erase(byte) > 0) SetLock(descriptor, F_UNLCK, byte);
  }
}

namespace {

// Whether somebody else's lock would keep one of this type from being taken.
absl::Status ProbeFor(short type, int descriptor, absl::Span<const uint64_t> bytes) {
  for (uint64_t byte : bytes) {
    struct flock conflict = ByteLock(type, byte);
    if (fcntl(descriptor, F_OFD_GETLK, &conflict) != 0) {
      return ErrnoStatus(errno, StrCat("probe the lock on byte ", byte));
    }
    if (conflict.l_type != F_UNLCK) return HeldByAnotherProcess(descriptor, byte, conflict.l_pid);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status HostLocks::Probe(int descriptor, absl::Span<const uint64_t> bytes) {
  return ProbeFor(F_WRLCK, descriptor, bytes);
}

absl::Status HostLocks::CheckShared(int descriptor, absl::Span<const uint64_t> bytes) {
  return ProbeFor(F_RDLCK, descriptor, bytes);
}

}  // namespace millrace
