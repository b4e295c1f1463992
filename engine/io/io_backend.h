// IoBackend: where an engine's bytes come from and go to.
//
// Three implementations stand behind this interface: io_uring, a thread pool (for hosts that refuse
// io_uring, as containers do) and a simulation whose completion order, latency, errors and crashes
// the Decider chooses. A backend belongs to one engine and its home thread; only Interrupt() may be
// called from other threads.
//
// A request is owned by whoever submits it and must stay alive, with its buffers, until `on_done`
// has been called on the home thread. Requests submitted together are sent to the host together, by
// Flush(), which the engine calls once per turn.
#ifndef MILLRACE_ENGINE_IO_IO_BACKEND_H_
#define MILLRACE_ENGINE_IO_IO_BACKEND_H_

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/intrusive_list.h"
#include "millrace/engine/scheduler/clock.h"

namespace millrace {

class Scheduler;

// An open file of a backend: a descriptor of the host, or a file of the simulation.
struct IoFile {
  int number = -1;
  bool is_valid() const { return number >= 0; }
};

enum class IoOpcode : uint8_t {
  kRead,         // preadv: short at the end of the file
  kWrite,        // pwritev: never short unless the host says so
  kSync,         // fdatasync
  kDiscard,      // punch a hole; the file keeps its size; -EOPNOTSUPP where the host cannot
  kWriteZeroes,  // zeroes without a hole where the host can; the file grows to hold the range
  kTruncate,     // sets the size to `offset`
  kCopyRange,    // copy_file_range from `source` at `source_offset`; may be short; -EXDEV,
                 // -EOPNOTSUPP or -EINVAL where the host cannot: then read and write
  kMemory,       // no file: calls `apply` on the home thread; when, a simulation chooses
  kCall,         // the backends' own: calls `apply` on a helper thread
};

struct IoRequest {
  IoOpcode opcode = IoOpcode::kRead;
  IoFile file;
  uint64_t offset = 0;
  uint64_t bytes = 0;                   // the sum of iov for reads and writes
  absl::Span<const iovec> iov;          // kRead, kWrite; the array too must outlive the request
  IoFile source;                        // kCopyRange
  uint64_t source_offset = 0;           // kCopyRange
  std::string_view label;               // who asks, for choices and traces: "img-3"
  std::string_view deed;                // kMemory: what it does, for notes: "write zeroes to"
  void (*apply)(IoRequest&) = nullptr;  // kMemory: performs the effect
  void (*on_done)(IoRequest&) = nullptr;
  void* context = nullptr;        // for on_done
  void* apply_context = nullptr;  // for apply

  int64_t result = 0;  // on completion: bytes moved (0 where none are), or -errno

  // The backend's own.
  ListLink link;
  uint64_t ordinal = 0;
  uint64_t progress = 0;  // bytes already moved; of a simulated sync, the effects it covers
  Nanoseconds due = 0;
};

using IoRequestList = IntrusiveList<IoRequest, &IoRequest::link>;

struct OpenOptions {
  bool writable = false;
  bool create = false;    // fails if the file exists
  bool direct = false;    // O_DIRECT
  bool truncate = false;  // with create: an existing file is emptied instead (before any lock can
                          // be taken: where somebody may use it, lock first, then kTruncate)
};

struct FileInfo {
  uint64_t bytes = 0;            // size
  uint64_t allocated_bytes = 0;  // what the file occupies
  uint64_t device = 0;           // with inode: the identity of the file
  uint64_t inode = 0;
  uint32_t io_alignment = 1;  // offsets, lengths and memory of direct requests; 1 if not direct
  bool is_regular = true;
};

struct OpenedIoFile {
  IoFile file;
  FileInfo info;
};

// A run of one kind, from the offset asked about.
struct FileExtent {
  uint64_t bytes = 0;  // 0 at or beyond the end of the file
  bool is_data = false;
};

class IoBackend {
 public:
  virtual ~IoBackend() = default;

  virtual std::string_view name() const = 0;  // "io_uring", "threads", "simulated"
  virtual bool is_simulated() const { return false; }

  // ---- Requests: home thread, never suspend -----------------------------------------------------
  virtual void Submit(IoRequest& request) = 0;
  // Sends what was submitted to the host.
  virtual void Flush() = 0;
  // Calls on_done for what has completed; returns how many. Does not block.
  virtual size_t Poll() = 0;
  // Blocks until something completed, Interrupt() was called, or `timeout` (relative) has passed.
  virtual void Block(Nanoseconds timeout) = 0;
  // Makes a current or the next Block() return. Any thread.
  virtual void Interrupt() = 0;
  // Readable when Poll() would find something or Interrupt() was called; -1 if simulated.
  virtual int PollFd() = 0;
  virtual size_t in_flight() const = 0;
  // Whether Poll() would find something, as far as that can be told without asking the host: for
  // who looks again and again instead of waiting. It may come a little late.
  virtual bool has_news() const { return false; }
  // Memory that many requests will use: slab `index` at arena + index * slab_bytes. A backend may
  // prepare it (io_uring pins it once); nothing changes for callers. `arena` and `slab_bytes` are
  // the same in all calls; the memory stays mapped until the backend is destroyed.
  virtual void RegisterSlab(char* /*arena*/, size_t /*slab_bytes*/, uint32_t /*index*/) {}

  // ---- Files ------------------------------------------------------------------------------------
  // NotFound, AlreadyExists, PermissionDenied, FailedPrecondition for what is neither a regular
  // file nor a block device, or Unavailable with the host's reason; the errno is attached
  // (millrace/engine/io/io_error.h).
  virtual absl::StatusOr<IoFile> CoOpen(const std::string& path, const OpenOptions& options)
      MILLRACE_MAY_SUSPEND = 0;
  // CoOpen and CoStat, in one go where the host can; nothing stays open on an error of either.
  virtual absl::StatusOr<OpenedIoFile> CoOpenAndStat(const std::string& path,
                                                     const OpenOptions& options)
      MILLRACE_MAY_SUSPEND;
  // Takes over a descriptor that the embedder opened. InvalidArgument if the backend is simulated.
  virtual absl::StatusOr<IoFile> Adopt(int descriptor) = 0;
  virtual void CoClose(IoFile file) MILLRACE_MAY_SUSPEND = 0;
  virtual absl::StatusOr<FileInfo> CoStat(IoFile file) MILLRACE_MAY_SUSPEND = 0;
  // Whether data or a hole starts at `offset`, and how far it reaches.
  virtual absl::StatusOr<FileExtent> CoFindExtent(IoFile file, uint64_t offset)
      MILLRACE_MAY_SUSPEND = 0;
  // Has `bytes` of `target` use the same blocks as those of `source` until one of them is written
  // (reflink). 0, or -errno: -EOPNOTSUPP, -EXDEV, -EINVAL where the host cannot.
  virtual int64_t CoCloneRange(IoFile source, uint64_t source_offset, IoFile target,
                               uint64_t target_offset, uint64_t bytes) MILLRACE_MAY_SUSPEND;
  // Tells the host to begin to write these ranges to the device, where they wait in its cache. A
  // hint: it makes a later kSync shorter and promises nothing. Returns once the host has been told.
  virtual void CoStartWriteback(IoFile /*file*/, absl::Span<const ByteRange> /*ranges*/)
      MILLRACE_MAY_SUSPEND {}
  // Open-file-description locks on single bytes, all or nothing, without waiting. Each `bytes`
  // entry is an offset. FailedPrecondition (kImageLocked) if somebody else holds one; the text and
  // the conflict name the holder where the host tells.
  virtual absl::Status LockBytes(IoFile file, absl::Span<const uint64_t> shared_bytes) = 0;
  virtual void UnlockBytes(IoFile file, absl::Span<const uint64_t> bytes) = 0;
  // Whether LockBytes() would be refused now; takes nothing. For dry runs; the
  // default finds nobody.
  virtual absl::Status CheckLockBytes(IoFile /*file*/,
                                      absl::Span<const uint64_t> /*shared_bytes*/) {
    return absl::OkStatus();
  }
  // FailedPrecondition if another open file description holds a lock on one of `bytes`.
  virtual absl::Status ProbeLocks(IoFile file, absl::Span<const uint64_t> bytes) = 0;
};

enum class IoBackendKind : uint8_t { kAutomatic, kIoUring, kThreads };

// kAutomatic: io_uring where the host allows it, else threads. Unavailable if a forced kind is
// refused.
absl::StatusOr<std::unique_ptr<IoBackend>> CreateIoBackend(IoBackendKind kind,
                                                           Scheduler& scheduler);

// What a completed request adds to the engine's counters. For backends, before `on_done`.
void CountCompletion(Scheduler& scheduler, const IoRequest& request);

// Submits and waits; returns request.result. `on_done` and `context` are set by this call.
// Not cancellable: the host may be using the buffers.
int64_t CoSubmit(IoBackend& backend, IoRequest& request) MILLRACE_MAY_SUSPEND;
// Submits them all, so that they go to the host together, and waits for the last one.
void CoSubmitAll(IoBackend& backend, absl::Span<IoRequest> requests) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_ENGINE_IO_IO_BACKEND_H_
