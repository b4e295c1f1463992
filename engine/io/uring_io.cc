#include "millrace/engine/io/uring_io.h"

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>

#include <array>
#include <bitset>
#include <cerrno>
#include <climits>
#include <cstring>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/blocking_io.h"
#include "millrace/engine/io/host_io.h"
#include "millrace/engine/io/io_error.h"

namespace millrace {
namespace {

constexpr unsigned kSubmissionEntries = 256;
constexpr unsigned kCompletionEntries = 1024;
// Fewer than completion entries, so that what is in flight has room to complete, the bell included.
constexpr size_t kInRingMax = kCompletionEntries - 8;
constexpr size_t kHelperThreadsMax = 4;
constexpr int kLooksSparedMax = 4;
constexpr size_t kSlabsMax = 1024;

constexpr unsigned kFlagsAlways = IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE;
// Best first: completions are worked off when we ask for them, by one thread, without interrupts.
// Older kernels refuse flags that they do not know.
constexpr unsigned kFlagsToTry[kUringFlagSets] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
        IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
    0,
};

class UringIo final : public HostIo {
 public:
  UringIo(Scheduler& scheduler, size_t first_set)
      : HostIo(scheduler, kHelperThreadsMax), first_set_(first_set) {}
  ~UringIo() override;
  absl::Status Open();

  std::string_view name() const override { return "io_uring"; }
  void Submit(IoRequest& request) override;
  void Flush() override;
  size_t Poll() override;
  void Block(Nanoseconds timeout) override;
  int PollFd() override;
  bool has_news() const override;
  unsigned ring_flags() const { return ring_.flags; }
  void RegisterSlab(char* arena, size_t slab_bytes, uint32_t index) override;

 private:
  absl::Status OpenRing();
  absl::Status CheckFeatures();
  // Makes the ring able to ring the bell; it does so once PollFd() was asked for.
  absl::Status ConnectBell();
  // The ring belongs to the thread that enables it: the first to do I/O.
  void EnableOnHomeThread();
  bool IsForRing(const IoRequest& request) const;
  void Prepare(io_uring_sqe* entry, const IoRequest& request);
  // Turns queued requests, and the watch on the bell, into submission entries.
  void FillRing();
  size_t Reap();
  // Reap() where the ring rings the bell.
  size_t ReapAndClear();
  bool MayBeRung();
  // Completes the request, or hands it on to a helper thread where the ring cannot finish it.
  bool OnCompletion(IoRequest& request, int result);
  // Index of the registered buffer that holds all of `memory`; -1 if none does.
  int RegisteredIndex(const iovec& memory) const;

  const size_t first_set_;
  io_uring ring_ = {};
  bool is_ring_open_ = false;
  bool is_enabled_ = false;
  // Who waits for both ring and bell: the ring, which watches the bell; or, once a foreign loop
  // asked for a descriptor, the bell, which the ring rings. Never both ways: a host that signals an
  // eventfd from within the wake-up of another does so late or never.
  bool is_bell_rung_by_ring_ = false;
  bool is_bell_watched_ = false;
  int looks_spared_ = 0;  // at the bell, one after the other
  IoRequestList queued_;
  size_t in_ring_ = 0;

  char* arena_ = nullptr;
  size_t slab_bytes_ = 0;
  bool is_table_registered_ = false;
  std::bitset<kSlabsMax> is_registered_;
};

// ---- Opening -----------------------------------------------------------------------------------

UringIo::~UringIo() {
  if (is_ring_open_) io_uring_queue_exit(&ring_);
}

absl::Status UringIo::Open() {
  MILLRACE_RETURN_IF_ERROR(HostIo::Open());
  MILLRACE_RETURN_IF_ERROR(OpenRing());
  MILLRACE_RETURN_IF_ERROR(CheckFeatures());
  return ConnectBell();
}

absl::Status UringIo::OpenRing() {
  int error = 0;
  for (size_t set = first_set_; set < kUringFlagSets; ++set) {
    io_uring_params params = {};
    params.flags = kFlagsToTry[set] | kFlagsAlways;
    params.cq_entries = kCompletionEntries;
    error = -io_uring_queue_init_params(kSubmissionEntries, &ring_, &params);
    is_ring_open_ = error == 0;
    if (error != EINVAL) break;
  }
  if (is_ring_open_) return absl::OkStatus();
  char buffer[128];
  return WithErrno(absl::UnavailableError(
                       StrCat("create an io_uring: ", strerror_r(error, buffer, sizeof(buffer)),
                              "; allow it on this host (sysctl kernel.io_uring_disabled, the "
                              "container's seccomp profile), or use threads")),
                   error);
}

absl::Status UringIo::CheckFeatures() {
  // Nothing is dropped when completions overflow; a wait can have a time limit.
  constexpr unsigned kNeeded = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_SINGLE_MMAP;
  io_uring_probe* probe = io_uring_get_probe_ring(&ring_);
  bool has_all = (ring_.features & kNeeded) == kNeeded && probe != nullptr;
  for (int opcode :
       {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_READ, IORING_OP_WRITE, IORING_OP_READ_FIXED,
        IORING_OP_WRITE_FIXED, IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_POLL_ADD}) {
    has_all = has_all && io_uring_opcode_supported(probe, opcode);
  }
  if (probe != nullptr) io_uring_free_probe(probe);
  if (has_all) return absl::OkStatus();
  return absl::UnavailableError("use io_uring: the host's kernel is too old for it; use threads");
}

absl::Status UringIo::ConnectBell() {
  // A foreign loop does not get the ring's own descriptor: with deferred work that is readable
  // without completions, and older kernels miss wake-ups of whoever polls it.
  int error = -io_uring_register_eventfd(&ring_, wake_.descriptor());
  if (error == 0) error = -io_uring_cq_eventfd_toggle(&ring_, false);
  if (error == 0) return absl::OkStatus();
  return WithErrno(absl::UnavailableError("use io_uring: it cannot ring an eventfd; use threads"),
                   error);
}

void UringIo::EnableOnHomeThread() {
  if (is_enabled_) return;
  is_enabled_ = true;
  // io_uring_enable_rings() by hand: the shared library of 2.3 forgets to export it.
  const int result = io_uring_register(static_cast<unsigned>(ring_.ring_fd),
                                       IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
  MILLRACE_CHECK(result >= 0, "the host refuses to enable an io_uring");
}

// ---- Submitting --------------------------------------------------------------------------------

bool UringIo::IsForRing(const IoRequest& request) const {
  switch (request.opcode) {
    case IoOpcode::kRead:
    case IoOpcode::kWrite:
      return request.bytes > 0 && request.iov.size() <= IOV_MAX;
    case IoOpcode::kDiscard:
    case IoOpcode::kWriteZeroes:
      return request.bytes > 0;
    case IoOpcode::kSync:
      return true;
    default:
      return false;
  }
}

void UringIo::Submit(IoRequest& request) {
  OnSubmitted();
  request.progress = 0;
  if (IsForRing(request)) {
    queued_.PushBack(request);
  } else if (request.opcode == IoOpcode::kMemory) {
    SubmitToSelf(request);
  } else {
    SubmitToHelpers(request);
  }
}

int UringIo::RegisteredIndex(const iovec& memory) const {
  const char* const start = static_cast<const char*>(memory.iov_base);
  if (arena_ == nullptr || start < arena_) return -1;
  const size_t offset = static_cast<size_t>(start - arena_);
  const size_t index = offset / slab_bytes_;
  if (index >= kSlabsMax || !is_registered_[index]) return -1;
  return offset % slab_bytes_ + memory.iov_len <= slab_bytes_ ? static_cast<int>(index) : -1;
}

void UringIo::Prepare(io_uring_sqe* entry, const IoRequest& request) {
  const int descriptor = request.file.number;
  const auto offset = request.offset;
  const bool is_read = request.opcode == IoOpcode::kRead;
  switch (request.opcode) {
    case IoOpcode::kRead:
    case IoOpcode::kWrite: {
      const auto count = static_cast<unsigned>(request.iov.size());
      const iovec& first = request.iov[0];
      const auto bytes = static_cast<unsigned>(first.iov_len);
      const int registered = count == 1 ? RegisteredIndex(first) : -1;
      if (registered >= 0) scheduler_.Count(Counter::kIoRegistered);
      if (registered >= 0 && is_read) {
        io_uring_prep_read_fixed(entry, descriptor, first.iov_base, bytes, offset, registered);
      } else if (registered >= 0) {
        io_uring_prep_write_fixed(entry, descriptor, first.iov_base, bytes, offset, registered);
      } else if (is_read) {
        io_uring_prep_readv(entry, descriptor, request.iov.data(), count, offset);
      } else {
        io_uring_prep_writev(entry, descriptor, request.iov.data(), count, offset);
      }
      break;
    }
    case IoOpcode::kDiscard:
      io_uring_prep_fallocate(entry, descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              static_cast<off_t>(offset), static_cast<off_t>(request.bytes));
      break;
    case IoOpcode::kWriteZeroes:
      io_uring_prep_fallocate(entry, descriptor, FALLOC_FL_ZERO_RANGE, static_cast<off_t>(offset),
                              static_cast<off_t>(request.bytes));
      break;
    default:
      io_uring_prep_fsync(entry, descriptor, IORING_FSYNC_DATASYNC);
      break;
  }
}

void UringIo::FillRing() {
  if (!is_bell_watched_ && !is_bell_rung_by_ring_) {
    if (io_uring_sqe* entry = io_uring_get_sqe(&ring_)) {
      io_uring_prep_poll_add(entry, wake_.descriptor(), POLLIN);
      io_uring_sqe_set_data(entry, nullptr);
      is_bell_watched_ = true;
    }
  }
  while (!queued_.empty() && in_ring_ < kInRingMax) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr) return;
    IoRequest* request = queued_.PopFront();
    Prepare(entry, *request);
    io_uring_sqe_set_data(entry, request);
    ++in_ring_;
  }
}

void UringIo::Flush() {
  FlushHelpers();
  EnableOnHomeThread();
  FillRing();
  while (io_uring_sq_ready(&ring_) > 0) {
    scheduler_.Count(Counter::kIoEnters);
    if (io_uring_submit(&ring_) <= 0) {
      // No memory, or too many completions waiting: the entries stay, and the next turn tries
      // again.
      wake_.Ring();
      return;
    }
    FillRing();
  }
}

// ---- Completing --------------------------------------------------------------------------------

bool UringIo::OnCompletion(IoRequest& request, int result) {
  const bool is_transfer = request.opcode == IoOpcode::kRead || request.opcode == IoOpcode::kWrite;
  const bool is_short = is_transfer && result > 0 && static_cast<uint64_t>(result) < request.bytes;
  const bool is_unsupported = request.opcode == IoOpcode::kWriteZeroes && IsRangeRefused(result);
  if (is_short || is_unsupported || result == -EINTR || result == -EAGAIN) {
    // The rest, or another way to do it, by blocking calls; short reads end at the end of the file.
    if (is_short) request.progress = static_cast<uint64_t>(result);
    SubmitToHelpers(request);
    return false;
  }
  // fallocate() and fsync report 0; a write of which nothing was taken has found no space.
  const bool is_refused = request.opcode == IoOpcode::kWrite && result == 0;
  request.result = is_refused ? -ENOSPC : result;
  Complete(request);
  return true;
}

size_t UringIo::Reap() {
  size_t completed = 0;
  std::array<io_uring_cqe*, 64> entries;
  for (;;) {
    // Enters the kernel if it says that completions wait there (overflow, deferred work).
    const unsigned count =
        io_uring_peek_batch_cqe(&ring_, entries.data(), static_cast<unsigned>(entries.size()));
    if (count == 0) return completed;
    // Copied first: completing may submit, and submitting may want the room of these.
    std::array<std::pair<IoRequest*, int>, 64> done;
    for (unsigned i = 0; i < count; ++i) {
      done[i] = {static_cast<IoRequest*>(io_uring_cqe_get_data(entries[i])), entries[i]->res};
    }
    io_uring_cq_advance(&ring_, count);
    for (unsigned i = 0; i < count; ++i) {
      IoRequest* request = done[i].first;
      if (request == nullptr) {
        is_bell_watched_ = false;
        continue;
      }
      --in_ring_;
      completed += OnCompletion(*request, done[i].second);
    }
  }
}

size_t UringIo::ReapAndClear() {
  // A foreign loop wakes for others too, a guest's socket for instance: then a look at the bell
  // would be a system call for nothing.
  if (!MayBeRung()) return 0;
  size_t completed = 0;
  // Cleared before looking, as ever; and again, because work that the host had deferred until now
  // rings when it is done: the loop would wake for what has been taken.
  for (size_t more = 1; more > 0; completed += more) {
    wake_.ClearWithHost();
    more = Reap();
  }
  return completed;
}

bool UringIo::has_news() const {
  const unsigned flags = IO_URING_READ_ONCE(*ring_.sq.kflags);
  return HostIo::has_news() || io_uring_cq_ready(&ring_) > 0 ||
         (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

// The ring may ring a little later than it shows why; so the bell is looked at now and then anyhow.
bool UringIo::MayBeRung() {
  if (!has_news() && looks_spared_ < kLooksSparedMax) {
    ++looks_spared_;
    return false;
  }
  looks_spared_ = 0;
  return true;
}

size_t UringIo::Poll() {
  EnableOnHomeThread();
  size_t completed = 0;
  if (is_bell_rung_by_ring_) {
    completed = ReapAndClear();
  } else {
    wake_.Clear();  // before looking, so that what comes after rings again
    completed = Reap();
  }
  completed += PollHelpers();
  FlushHelpers();  // what OnCompletion() handed on
  return completed;
}

void UringIo::Block(Nanoseconds timeout) {
  if (is_bell_rung_by_ring_) {
    Flush();
    return wake_.Wait(timeout);
  }
  EnableOnHomeThread();
  FillRing();
  io_uring_cqe* ignored = nullptr;
  __kernel_timespec limit;
  limit.tv_sec = timeout / kSecond;
  limit.tv_nsec = timeout % kSecond;
  scheduler_.Count(Counter::kIoEnters);
  // One system call submits and waits. Whatever ends it, the caller polls next.
  io_uring_submit_and_wait_timeout(&ring_, &ignored, 1, timeout == kNever ? nullptr : &limit,
                                   nullptr);
}

int UringIo::PollFd() {
  if (is_bell_rung_by_ring_) return wake_.descriptor();
  EnableOnHomeThread();
  io_uring_cq_eventfd_toggle(&ring_, true);
  is_bell_rung_by_ring_ = true;
  wake_.Ring();  // what completed before this has rung nobody
  return wake_.descriptor();
}

// ---- Registered memory -------------------------------------------------------------------------

void UringIo::RegisterSlab(char* arena, size_t slab_bytes, uint32_t index) {
  if (index >= kSlabsMax) return;
  EnableOnHomeThread();
  arena_ = arena;
  slab_bytes_ = slab_bytes;
  if (!is_table_registered_) {
    if (io_uring_register_buffers_sparse(&ring_, kSlabsMax) != 0) return;
    is_table_registered_ = true;
  }
  // Refused where the limit of locked memory is reached: then the slab is ordinary memory.
  const iovec memory = {arena + index * slab_bytes, slab_bytes};
  is_registered_[index] =
      io_uring_register_buffers_update_tag(&ring_, index, &memory, nullptr, 1) == 1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<IoBackend>> CreateUringIo(Scheduler& scheduler, size_t first_set,
                                                         unsigned* flags) {
  auto backend = std::make_unique<UringIo>(scheduler, first_set);
  MILLRACE_RETURN_IF_ERROR(backend->Open());
  if (flags != nullptr) *flags = backend->ring_flags();
  return backend;
}

}  // namespace millrace
