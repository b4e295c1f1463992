#include "millrace/engine/io/host_io.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/blocking_io.h"
#include "millrace/engine/io/host_file.h"

namespace millrace {

HostIo::HostIo(Scheduler& scheduler, size_t threads_max)
    : scheduler_(scheduler), helpers_(threads_max, wake_) {}

HostIo::~HostIo() {
  MILLRACE_CHECK(in_flight_ == 0, "I/O backend destroyed with requests in flight");
}

void HostIo::Complete(IoRequest& request) {
  --in_flight_;
  scheduler_.AddPendingExternal(-1);
  CountCompletion(scheduler_, request);
  request.on_done(request);
}

void HostIo::SubmitToSelf(IoRequest& request) {
  for_self_.PushBack(request);
  wake_.Ring();  // a foreign loop waits for the descriptor
}

size_t HostIo::PollHelpers() {
  // What completions submit in turn waits for the next poll, so that this one ends.
  IoRequestList own;
  own.TakeAll(for_self_);
  while (IoRequest* request = own.PopFront()) {
    request->result = PerformBlocking(*request);
    done_.PushBack(*request);
  }
  helpers_.Reap(done_);
  size_t completed = 0;
  for (; IoRequest* request = done_.PopFront(); ++completed) Complete(*request);
  return completed;
}

void HostIo::CoCall(std::string_view label, absl::FunctionRef<void()> function) {
  // Opening a file is how most uses of the wrong engine begin.
  scheduler_.CheckIsHomeOf("the I/O backend");
  IoRequest request;
  request.opcode = IoOpcode::kCall;
  request.label = label;
  request.apply_context = &function;
  request.apply = [](IoRequest& call) {
    (*static_cast<absl::FunctionRef<void()>*>(call.apply_context))();
  };
  CoSubmit(*this, request);
}

absl::StatusOr<IoFile> HostIo::CoOpen(const std::string& path, const OpenOptions& options) {
  absl::StatusOr<IoFile> file = absl::InternalError("the open did not run");
  CoCall(path, [&] { file = OpenHostFile(path, options); });
  return file;
}

absl::StatusOr<OpenedIoFile> HostIo::CoOpenAndStat(const std::string& path,
                                                   const OpenOptions& options) {
  absl::StatusOr<OpenedIoFile> opened = absl::InternalError("the open did not run");
  // One trip to a helper thread instead of two.
  CoCall(path, [&] { opened = OpenAndStatHostFile(path, options); });
  return opened;
}

absl::StatusOr<IoFile> HostIo::Adopt(int descriptor) {
  absl::Status status = CheckHostFile(descriptor);
  if (status.ok()) return IoFile{descriptor};
  return absl::InvalidArgumentError(
      StrCat("take over descriptor ", descriptor, ": ", FromAbsl(status.message())));
}

void HostIo::CoClose(IoFile file) {
  locks_.Forget(file.number);
  CoCall("close", [&] { close(file.number); });
}

absl::StatusOr<FileInfo> HostIo::CoStat(IoFile file) {
  absl::StatusOr<FileInfo> info = absl::InternalError("the stat did not run");
  CoCall("stat", [&] { info = StatHostFile(file.number); });
  return info;
}

absl::StatusOr<FileExtent> HostIo::CoFindExtent(IoFile file, uint64_t offset) {
  absl::StatusOr<FileExtent> extent = absl::InternalError("the search did not run");
  CoCall("find extent", [&] { extent = FindHostExtent(file.number, offset); });
  return extent;
}

int64_t HostIo::CoCloneRange(IoFile source, uint64_t source_offset, IoFile target,
                             uint64_t target_offset, uint64_t bytes) {
  int64_t result = 0;
  CoCall("clone range", [&] {
    const file_clone_range range = {source.number, source_offset, bytes, target_offset};
    if (ioctl(target.number, FICLONERANGE, &range) != 0) result = -errno;
  });
  return result;
}

void HostIo::CoStartWriteback(IoFile file, absl::Span<const ByteRange> ranges) {
  // On a helper thread: the host waits where the device has enough to do already.
  CoCall("start writing back", [&] {
    for (const ByteRange& range : ranges) {
      // An error is not lost: the next fdatasync() of the file meets it.
      sync_file_range(file.number, static_cast<off64_t>(range.offset),
                      static_cast<off64_t>(range.bytes), SYNC_FILE_RANGE_WRITE);
    }
  });
}

absl::Status HostIo::LockBytes(IoFile file, absl::Span<const uint64_t> shared_bytes) {
  return locks_.LockShared(file.number, shared_bytes);
}

void HostIo::UnlockBytes(IoFile file, absl::Span<const uint64_t> bytes) {
  locks_.Unlock(file.number, bytes);
}

absl::Status HostIo::CheckLockBytes(IoFile file, absl::Span<const uint64_t> shared_bytes) {
  return HostLocks::CheckShared(file.number, shared_bytes);
}

absl::Status HostIo::ProbeLocks(IoFile file, absl::Span<const uint64_t> bytes) {
  return HostLocks::Probe(file.number, bytes);
}

}  // namespace millrace
