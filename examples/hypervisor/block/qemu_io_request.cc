// Reads, writes and discards of qemu-io, and their reports.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/qemu_io.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

constexpr uint8_t kUsualPattern = 0xcd;

std::string_view Done(const QemuIoRequest& request) {
  if (request.is_read()) return "read";
  return request.name == "discard" ? "discard" : "wrote";
}

// How a failure is called.
std::string_view Attempted(const QemuIoRequest& request) {
  return request.name == "aio_read" ? "readv" : std::string_view(request.name);
}

void PrintReport(BlockLayer& layer, const QemuIoRequest& request, Nanoseconds took) {
  if (request.is_quiet) return;
  const double seconds = static_cast<double>(std::max<Nanoseconds>(took, 1)) / 1e9;
  const double rate = static_cast<double>(request.bytes) / seconds;
  if (request.is_condensed) {
    const auto hundredths = static_cast<uint64_t>(seconds * 100);
    return PrintLikeQemuIo(
        layer, absl::StrFormat("%d,1,%d:%02d:%02d.%02d,%.3f,%.3f\n", request.bytes,
                               hundredths / 360000, hundredths / 6000 % 60, hundredths / 100 % 60,
                               hundredths % 100, rate, 1 / seconds));
  }
  PrintLikeQemuIo(
      layer,
      absl::StrFormat(
          "%s %d/%d bytes at offset %d\n%s, 1 ops; %05.2f sec (%s/sec and %.4f ops/sec)\n",
          std::string(Done(request)), request.bytes, request.bytes, request.offset,
          IoSizeText(static_cast<double>(request.bytes)), seconds, IoSizeText(rate), 1 / seconds));
}

// In parts: as text a byte takes five.
void PrintDump(BlockLayer& layer, const uint8_t* bytes, uint64_t count, uint64_t offset) {
  constexpr size_t kPartBytes = 64 << 10;
  std::string dump;
  for (uint64_t line = 0; line < count; line += 16) {
    absl::StrAppendFormat(&dump, "%08x:  ", offset + line);
    const uint64_t end = std::min<uint64_t>(line + 16, count);
    for (uint64_t i = line; i < end; ++i) absl::StrAppendFormat(&dump, "%02x ", bytes[i]);
    dump += ' ';
    for (uint64_t i = line; i < end; ++i) {
      dump += absl::ascii_isalnum(bytes[i]) ? static_cast<char>(bytes[i]) : '.';
    }
    dump += '\n';
    if (dump.size() < kPartBytes && end < count) continue;
    PrintLikeQemuIo(layer, dump);
    dump.clear();
  }
}

// The size of what the uppermost image hands out at a time.
uint64_t ClusterOf(BlockLayer& layer, NodeId id) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> node = view.Resolve(id);
  return node.ok() ? std::max<uint64_t>(SkipFilters(*node).cluster_bytes(), 1) : 1;
}

absl::Status CheckKind(const QemuIoRequest& request, uint64_t length) {
  if (!ByteRange::IsRepresentable(request.offset, request.bytes) ||
      request.offset + request.bytes > length) {
    return absl::InvalidArgumentError("beyond the end");
  }
  if (!request.is_vm_state && !request.is_compressed) return absl::OkStatus();
  return WithErrno(absl::UnimplementedError("not supported here"), ENOTSUP);
}

// Parts of clusters can only be written.
absl::Status CheckZeroes(const QemuIoRequest& request, uint64_t length, uint64_t cluster) {
  const uint64_t end = request.offset + request.bytes;
  const bool is_whole =
      IsAligned(request.offset, cluster) && (IsAligned(end, cluster) || end == length);
  if (!request.no_fallback || is_whole) return absl::OkStatus();
  return WithErrno(absl::UnimplementedError("not whole clusters"), ENOTSUP);
}

// As much of the file as there is room for, again and again; false if there is nothing, which has
// been told then.
bool FillFromFile(const std::string& path, char* bytes, uint64_t count) {
  const auto complain = [&](std::string_view why) {
    ComplainLikeQemuIo(StrCat(path, ": ", why, "\n"));
    return false;
  };
  const std::unique_ptr<FILE, int (*)(FILE*)> file(fopen(path.c_str(), "re"), &fclose);
  if (file == nullptr) return complain(ErrnoText(errno));
  const uint64_t read = fread(bytes, 1, count, file.get());
  if (ferror(file.get()) != 0) return complain(ErrnoText(errno));
  if (read == 0) return complain("file is empty");
  for (uint64_t at = read; at < count; at += read) {
    std::copy_n(bytes, std::min(read, count - at), bytes + at);
  }
  return true;
}

class RequestRun {
 public:
  RequestRun(BlockLayer& layer, const QemuIoTarget& target, const QemuIoRequest& request)
      : layer_(layer), target_(target), request_(request) {}

  // What is written, if a file has it. False: that has failed, and has been told.
  bool Prepare() {
    if (request_.pattern_file.empty()) return true;
    absl::StatusOr<IoBuffer> buffer = TakeBuffer(request_.bytes);
    if (!buffer.ok()) {
      PrintLikeQemuIo(layer_, StrCat(Attempted(request_), " failed: ", ErrnoText(ENOMEM), "\n"));
      return false;
    }
    content_ = *std::move(buffer);
    return FillFromFile(request_.pattern_file, content_->data(), request_.bytes);
  }

  absl::Status CoRun() MILLRACE_MAY_SUSPEND {
    Attachment& backend = *target_.backend;
    MILLRACE_RETURN_IF_ERROR(CheckKind(request_, backend.bytes()));  // before limits make it wait
    const ByteRange range(request_.offset, request_.bytes);
    CoPassLimits();
    if (request_.name == "discard") return backend.CoDiscard(range);
    if (request_.writes_zeroes) return CoWriteZeroes(range);
    return request_.is_read() ? CoRead() : CoWrite();
  }

  bool matches() const { return matches_; }

 private:
  void CoPassLimits() MILLRACE_MAY_SUSPEND {
    if (target_.drive == nullptr) return;
    // The drive may get other limits, or none, while this waits.
    const std::shared_ptr<DriveThrottle> throttle = target_.drive->throttle;
    if (throttle == nullptr) return;
    throttle->CoPass(request_.is_read() ? ThrottleDirection::kRead : ThrottleDirection::kWrite,
                     request_.bytes);
  }

  bool WritesThrough() const {
    return request_.force_unit_access ||
           (target_.drive != nullptr && target_.drive->writes_through);
  }

  absl::Status CoWriteZeroes(ByteRange range) MILLRACE_MAY_SUSPEND {
    Attachment& backend = *target_.backend;
    MILLRACE_RETURN_IF_ERROR(
        CheckZeroes(request_, backend.bytes(), ClusterOf(layer_, backend.node())));
    MILLRACE_RETURN_IF_ERROR(backend.CoWriteZeroes(range, {.may_unmap = request_.may_unmap}));
    return WritesThrough() ? backend.CoFlush() : absl::OkStatus();
  }

  absl::Status CoWrite() MILLRACE_MAY_SUSPEND {
    if (!content_) {
      MILLRACE_ASSIGN_OR_RETURN(content_, TakeBuffer(request_.bytes));
      const uint8_t pattern = request_.pattern.value_or(kUsualPattern);
      IoVector(content_->data(), request_.bytes).Fill(0, pattern, request_.bytes);
    }
    return target_.backend->CoWrite(request_.offset, IoVector(content_->data(), request_.bytes),
                                    {.force_unit_access = WritesThrough()});
  }

  absl::Status CoRead() MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(IoBuffer buffer, TakeBuffer(request_.bytes));
    MILLRACE_RETURN_IF_ERROR(
        target_.backend->CoRead(request_.offset, IoVector(buffer.data(), request_.bytes)));
    if (target_.drive != nullptr && target_.drive->copies_on_read) {
      MILLRACE_RETURN_IF_ERROR(CoKeepClusters());
    }
    const auto* bytes = reinterpret_cast<const uint8_t*>(buffer.data());
    if (request_.pattern) {
      const uint8_t* from = bytes + request_.compared_offset;
      const uint8_t* to =
          request_.compared_bytes ? from + *request_.compared_bytes : bytes + request_.bytes;
      matches_ = std::all_of(from, to, [&](uint8_t byte) { return byte == *request_.pattern; });
    }
    if (request_.is_verbose) PrintDump(layer_, bytes, request_.bytes, request_.offset);
    return absl::OkStatus();
  }

  // What was read from below is kept in the top image, in whole clusters.
  absl::Status CoKeepClusters() MILLRACE_MAY_SUSPEND {
    Attachment& backend = *target_.backend;
    const uint64_t cluster = ClusterOf(layer_, backend.node());
    if (cluster <= 1 || request_.bytes == 0) return absl::OkStatus();
    const uint64_t from = AlignDown(request_.offset, cluster);
    const uint64_t to =
        std::min(AlignUp(request_.offset + request_.bytes, cluster), backend.bytes());
    MILLRACE_ASSIGN_OR_RETURN(IoBuffer buffer, TakeBuffer(to - from));
    const IoVector vector(buffer.data(), to - from);
    MILLRACE_RETURN_IF_ERROR(backend.CoRead(from, vector));
    return backend.CoWrite(from, vector, {.only_if_unallocated = true});
  }

  absl::StatusOr<IoBuffer> TakeBuffer(uint64_t bytes) {
    return layer_.host().engine.buffers().TryTake(std::max<uint64_t>(bytes, 1), "qemu-io");
  }

  BlockLayer& layer_;
  const QemuIoTarget& target_;
  const QemuIoRequest& request_;
  std::optional<IoBuffer> content_;  // of a write
  bool matches_ = true;
};

// Only asynchronous commands are what a guest's requests are counted with.
void Count(const QemuIoTarget& target, const QemuIoRequest& request, const absl::Status& status,
           Nanoseconds took, Nanoseconds now) {
  if (target.drive == nullptr || !request.is_asynchronous()) return;
  const CountedIo io = request.is_read() ? CountedIo::kRead : CountedIo::kWrite;
  if (status.ok()) {
    target.drive->statistics.CountDone(io, request.bytes, took, now);
  } else {
    target.drive->statistics.CountFailed(io, took, now);
  }
}

}  // namespace

absl::Status CheckIoRequest(BlockLayer& layer, NodeId id, const QemuIoRequest& request) {
  const uint64_t cluster = ClusterOf(layer, id);
  GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const NodeView node, view.Resolve(id));
  MILLRACE_RETURN_IF_ERROR(CheckKind(request, node.bytes()));
  return request.writes_zeroes ? CheckZeroes(request, node.bytes(), cluster) : absl::OkStatus();
}

std::string IoFailureText(const QemuIoRequest& request, const absl::Status& status) {
  const int number = status.code() == absl::StatusCode::kInvalidArgument ? EIO : ErrnoOf(status);
  return StrCat(Attempted(request), " failed: ", ErrnoText(number), "\n");
}

void CoRunIoRequest(BlockLayer& layer, const QemuIoTarget& target, const QemuIoRequest& request) {
  Clock& clock = layer.host().engine.clock();
  const Nanoseconds start = clock.Now();
  RequestRun run(layer, target, request);
  if (!run.Prepare()) return;
  const absl::Status status = run.CoRun();
  const Nanoseconds took = clock.Now() - start;
  Count(target, request, status, took, clock.Now());
  if (!status.ok()) return PrintLikeQemuIo(layer, IoFailureText(request, status));
  if (!run.matches()) {
    const uint64_t from = request.offset + request.compared_offset;
    const uint64_t bytes = request.compared_bytes.value_or(request.bytes - request.compared_offset);
    PrintLikeQemuIo(
        layer, StrCat("Pattern verification failed at offset ", from, ", ", bytes, " bytes\n"));
  }
  PrintReport(layer, request, took);
}

}  // namespace millrace
