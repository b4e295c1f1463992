// HostLocks: open-file-description locks on single bytes of host files. Internal; not installed.
//
// The kernel keeps the locks; this class remembers which bytes each descriptor holds, so that a
// request that is refused half way gives back only what it took itself. Home thread; nothing here
// waits.
#ifndef MILLRACE_ENGINE_IO_HOST_LOCKS_H_
#define MILLRACE_ENGINE_IO_HOST_LOCKS_H_

#include <cstdint>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/types/span.h"

namespace millrace {

class HostLocks {
 public:
  // All or nothing. FailedPrecondition, naming the holder where the host tells, if another open
  // file description holds a conflicting lock.
  absl::Status LockShared(int descriptor, absl::Span<const uint64_t> bytes);
  // Bytes that are not held are skipped.
  void Unlock(int descriptor, absl::Span<const uint64_t> bytes);
  // FailedPrecondition if another open file description holds any lock on one of `bytes`.
  static absl::Status Probe(int descriptor, absl::Span<const uint64_t> bytes);
  // Whether LockShared() would be refused now; takes nothing.
  static absl::Status CheckShared(int descriptor, absl::Span<const uint64_t> bytes);
  // The descriptor is about to be closed, which drops its locks.
  void Forget(int descriptor) { held_.erase(descriptor); }

 private:
  absl::btree_map<int, absl::btree_set<uint64_t>> held_;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_HOST_LOCKS_H_
