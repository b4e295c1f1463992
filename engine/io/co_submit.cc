#include <cerrno>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/io_backend.h"
#include "millrace/engine/observer.h"
#include "millrace/engine/scheduler/scheduler.h"
#include "millrace/engine/scheduler/scheduler_impl.h"
#include "millrace/engine/sync/wait_queue.h"

namespace millrace {
namespace {

std::string_view OpcodeName(IoOpcode opcode) {
  switch (opcode) {
    case IoOpcode::kRead:
      return "read";
    case IoOpcode::kWrite:
      return "write";
    case IoOpcode::kSync:
      return "sync";
    case IoOpcode::kDiscard:
      return "discard";
    case IoOpcode::kWriteZeroes:
      return "write zeroes";
    case IoOpcode::kTruncate:
      return "truncate";
    case IoOpcode::kCopyRange:
      return "copy range";
    case IoOpcode::kMemory:
      return "memory";
    case IoOpcode::kCall:
      return "call";
  }
  return "io";
}

struct IoWait final : Waitable {
  explicit IoWait(IoRequest& waited_for) : request(waited_for) {}
  static void OnDone(IoRequest& request) {
    auto* wait = static_cast<IoWait*>(request.context);
    wait->is_done = true;
    wait->queue.WakeOne();
  }
  void DescribeWait(WaitDescription& description) const override {
    description.object = std::string(OpcodeName(request.opcode)) + " of '" +
                         std::string(request.label) + "' at " + std::to_string(request.offset);
    description.external = true;
  }

  IoRequest& request;
  bool is_done = false;
  WaitQueue queue;
};

struct IoGroupWait final : Waitable {
  explicit IoGroupWait(absl::Span<IoRequest> waited_for) : requests(waited_for) {}
  static void OnDone(IoRequest& request) {
    auto* wait = static_cast<IoGroupWait*>(request.context);
    if (--wait->pending == 0) wait->queue.WakeOne();
  }
  void DescribeWait(WaitDescription& description) const override {
    const IoRequest& first = requests.front();
    description.object = std::to_string(pending) + " of " + std::to_string(requests.size()) +
                         " requests, the first a " + std::string(OpcodeName(first.opcode)) +
                         " of '" + std::string(first.label) + "' at " +
                         std::to_string(first.offset);
    description.external = true;
  }

  absl::Span<IoRequest> requests;
  size_t pending = 0;
  WaitQueue queue;
};

// -1 if nobody wants to hear of it.
Nanoseconds BeginSpan(const Scheduler& scheduler) {
  return scheduler.timeline() == nullptr ? -1 : scheduler.Now();
}

void EndSpan(Scheduler& scheduler, const IoRequest& request, Nanoseconds begin) {
  if (scheduler.timeline() == nullptr || begin < 0) return;
  TimelineSpan span;
  span.kind = TimelineSpan::Kind::kIo;
  span.name = request.label;
  span.detail = OpcodeName(request.opcode);
  span.id = scheduler.running()->number;
  span.begin = begin;
  span.end = scheduler.Now();
  span.offset = request.offset;
  span.bytes = request.bytes;
  span.result = request.result;
  scheduler.timeline()->OnSpan(span);
}

}  // namespace

absl::StatusOr<OpenedIoFile> IoBackend::CoOpenAndStat(const std::string& path,
                                                      const OpenOptions& options) {
  OpenedIoFile opened;
  MILLRACE_ASSIGN_OR_RETURN(opened.file, CoOpen(path, options));
  absl::StatusOr<FileInfo> info = CoStat(opened.file);
  if (!info.ok()) {
    CoClose(opened.file);
    return info.status();
  }
  opened.info = *info;
  return opened;
}

void CountCompletion(Scheduler& scheduler, const IoRequest& request) {
  if (request.opcode == IoOpcode::kMemory || request.opcode == IoOpcode::kCall) return;
  // Where the host will not copy, the bytes are read and written.
  if (request.opcode == IoOpcode::kCopyRange && request.result < 0) return;
  if (request.result < 0) return scheduler.Count(Counter::kIoErrors);
  if (request.opcode == IoOpcode::kRead) {
    scheduler.Count(Counter::kIoReads);
    scheduler.Count(Counter::kIoReadBytes, static_cast<uint64_t>(request.result));
  } else if (request.opcode == IoOpcode::kWrite || request.opcode == IoOpcode::kCopyRange) {
    scheduler.Count(Counter::kIoWrites);
    scheduler.Count(Counter::kIoWriteBytes, static_cast<uint64_t>(request.result));
  } else if (request.opcode == IoOpcode::kSync) {
    scheduler.Count(Counter::kIoFlushes);
  }
}

int64_t IoBackend::CoCloneRange(IoFile, uint64_t, IoFile, uint64_t, uint64_t) {
  return -EOPNOTSUPP;
}

int64_t CoSubmit(IoBackend& backend, IoRequest& request) {
  IoWait wait(request);
  request.context = &wait;
  request.on_done = &IoWait::OnDone;
  Scheduler& scheduler = Scheduler::OfRunning();
  const Nanoseconds begin = BeginSpan(scheduler);
  backend.Submit(request);
  if (!wait.is_done) wait.queue.CoWait("io", &wait);
  EndSpan(scheduler, request, begin);
  return request.result;
}

void CoSubmitAll(IoBackend& backend, absl::Span<IoRequest> requests) {
  if (requests.empty()) return;
  Scheduler& scheduler = Scheduler::OfRunning();
  const Nanoseconds begin = BeginSpan(scheduler);
  IoGroupWait wait(requests);
  wait.pending = requests.size();
  for (IoRequest& request : requests) {
    request.context = &wait;
    request.on_done = &IoGroupWait::OnDone;
    backend.Submit(request);
  }
  if (wait.pending > 0) wait.queue.CoWait("io", &wait);
  for (const IoRequest& request : requests) EndSpan(scheduler, request, begin);
}

}  // namespace millrace
