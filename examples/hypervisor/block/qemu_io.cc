#include "examples/hypervisor/block/qemu_io.h"

#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/str_format.h"
#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/refusal.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/filters/fault_injection.h"
#include "millrace/graph/graph_transaction.h"

namespace millrace {
namespace {

void Print(std::string_view text) {
  fwrite(text.data(), 1, text.size(), stdout);
  fflush(stdout);
}

// What a command works on: a drive's own back end, or one made for it over a node.
struct IoTarget {
  Attachment* backend = nullptr;
  std::shared_ptr<Attachment> own;  // keeps it, if it was made
};

// Takes what the command needs on top of what the back end has, as qemu-io does.
absl::Status Request(BlockLayer& layer, const Attachment& backend, PermissionSet wanted)
    MILLRACE_OPENS_VIEW {
  const Permissions now = backend.permissions();
  if (now.used.Contains(wanted)) return absl::OkStatus();
  GraphTransaction change(layer.graph());
  change.SetPermissions(backend, {now.used | wanted, now.shared});
  return change.Commit().status();
}

absl::StatusOr<IoTarget> FindTarget(BlockLayer& layer, const std::string& name, bool is_device)
    MILLRACE_OPENS_VIEW {
  Drive* drive = is_device ? layer.FindDriveOfDevice(name) : layer.FindDrive(name);
  if (drive != nullptr && drive->backend.is_attached()) return IoTarget{&drive->backend, nullptr};
  if (is_device) return GenericError(StrCat("Device '", name, "' not found"));
  MILLRACE_ASSIGN_OR_RETURN(const NodeId node, layer.FindNode("", name));
  AttachmentOptions options;
  options.holder = MakeHolder("", "block device");
  options.purpose = "root";
  MILLRACE_ASSIGN_OR_RETURN(Attachment own,
                            Attachment::Attach(layer.graph(), node, std::move(options)));
  IoTarget target;
  target.own = std::make_shared<Attachment>(std::move(own));
  target.backend = target.own.get();
  return target;
}

// ---- Requests ----------------------------------------------------------------------------------

std::string_view Done(const QemuIoRequest& request) {
  if (request.is_read()) return "read";
  return request.name == "discard" ? "discard" : "wrote";
}

void PrintReport(const QemuIoRequest& request, Nanoseconds took) {
  if (request.is_quiet) return;
  const double seconds = static_cast<double>(std::max<Nanoseconds>(took, 1)) / 1e9;
  Print(
      absl::StrFormat("%s %d/%d bytes at offset %d\n%s, 1 ops; %05.2f sec (%s/sec and %.4f "
                      "ops/sec)\n",
                      std::string(Done(request)), request.bytes, request.bytes, request.offset,
                      IoSizeText(static_cast<double>(request.bytes)), seconds,
                      IoSizeText(static_cast<double>(request.bytes) / seconds), 1 / seconds));
}

absl::Status CoDo(BlockLayer& layer, Attachment& backend, const QemuIoRequest& request,
                  bool* matches) MILLRACE_MAY_SUSPEND {
  const ByteRange range(request.offset, request.bytes);
  if (request.name == "discard") return backend.CoDiscard(range);
  if (request.writes_zeroes) {
    return backend.CoWriteZeroes(range, {.may_unmap = request.may_unmap});
  }
  MILLRACE_ASSIGN_OR_RETURN(IoBuffer buffer, layer.host().engine.buffers().TryTake(
                                                 std::max<uint64_t>(request.bytes, 1), "qemu-io"));
  const IoVector vector(buffer.data(), request.bytes);
  if (!request.is_read()) {
    vector.Fill(0, request.pattern.value_or(0xcd), request.bytes);
    return backend.CoWrite(request.offset, vector,
                           {.force_unit_access = request.force_unit_access});
  }
  MILLRACE_RETURN_IF_ERROR(backend.CoRead(request.offset, vector));
  if (!request.pattern) return absl::OkStatus();
  const auto wanted = static_cast<char>(*request.pattern);
  *matches = std::all_of(buffer.data(), buffer.data() + request.bytes,
                         [&](auto byte) { return static_cast<char>(byte) == wanted; });
  return absl::OkStatus();
}

void CoRunRequest(BlockLayer& layer, Attachment& backend, const QemuIoRequest& request)
    MILLRACE_MAY_SUSPEND {
  const Nanoseconds start = layer.host().engine.clock().Now();
  bool matches = true;
  const absl::Status status = CoDo(layer, backend, request, &matches);
  if (!status.ok()) {
    const int number = status.code() == absl::StatusCode::kInvalidArgument ? EIO : ErrnoOf(status);
    return Print(StrCat(request.name, " failed: ", ErrnoText(number), "\n"));
  }
  if (!matches) {
    Print(StrCat("Pattern verification failed at offset ", request.offset, ", ", request.bytes,
                 " bytes\n"));
  }
  PrintReport(request, layer.host().engine.clock().Now() - start);
}

std::string CoIo(BlockLayer& layer, IoTarget target, const std::vector<std::string>& words)
    MILLRACE_MAY_SUSPEND {
  QemuIoRequest request;
  if (auto mistake = ParseIoRequest(words, &request)) {
    Print(*mistake);
    return {};
  }
  const PermissionSet wanted = request.is_read() ? kConsistentRead : kWrite;
  if (absl::Status status = Request(layer, *target.backend, wanted); !status.ok()) {
    return StrCat("Error: ", RenderRefusal(status).desc, "\r\n");
  }
  if (!request.is_asynchronous()) {
    CoRunRequest(layer, *target.backend, request);
    return {};
  }
  layer.guest_requests().Spawn(request.name, [&layer, target, request]() MILLRACE_MAY_SUSPEND {
    CoRunRequest(layer, *target.backend, request);
    if (target.own != nullptr) target.own->CoDetach();
  });
  return {};
}

// ---- Break points ------------------------------------------------------------------------------

void PrintBreakError(std::string_view what, const absl::Status& status) {
  const int number = status.code() == absl::StatusCode::kNotFound ? ENOENT : EINVAL;
  Print(StrCat(what, ": ", ErrnoText(number), "\n"));
}

void CoBreak(BlockLayer& layer, const Attachment& backend, const std::vector<std::string>& words)
    MILLRACE_MAY_SUSPEND {
  const bool is_break = words[0] == "break";
  if (words.size() != (is_break ? 3u : 2u)) {
    return Print(StrCat("bad argument count ", words.size() - 1, " to ", words[0], "\n"));
  }
  const std::shared_ptr<BreakPoints> points = BreakPointsBelow(layer.graph(), backend.node());
  if (points == nullptr) {
    if (is_break) Print(StrCat("Could not set a breakpoint: ", ErrnoText(ENOTSUP), "\n"));
    return;
  }
  if (is_break) {
    if (absl::Status status = points->Add(words[1], words[2]); !status.ok()) {
      PrintBreakError("Could not set a breakpoint", status);
    }
  } else if (words[0] == "remove_break") {
    if (absl::Status status = points->Remove(words[1]); !status.ok()) {
      PrintBreakError(StrCat("Could not remove breakpoint ", words[1]), status);
    }
  } else if (words[0] == "resume") {
    if (absl::Status status = points->Resume(words[1]); !status.ok()) {
      PrintBreakError("Could not resume request", status);
    }
  } else {
    points->CoWaitSuspended(words[1]);
  }
}

std::string CoRunCommand(BlockLayer& layer, const IoTarget& target,
                         const std::vector<std::string>& words) MILLRACE_MAY_SUSPEND {
  const std::string& name = words[0];
  for (const char* io : {"read", "write", "aio_read", "aio_write", "discard"}) {
    if (name == io) return CoIo(layer, target, words);
  }
  for (const char* point : {"break", "wait_break", "remove_break", "resume"}) {
    if (name == point) {
      CoBreak(layer, *target.backend, words);
      return {};
    }
  }
  if (name == "flush" || name == "aio_flush") {
    if (absl::Status status = target.backend->CoFlush(); !status.ok()) {
      Print(StrCat("flush failed: ", ErrnoText(ErrnoOf(status)), "\n"));
    }
  } else {
    Print(StrCat("command \"", name, "\" not found\n"));
  }
  return {};
}

std::string CoQemuIo(BlockLayer& layer, std::string_view rest) MILLRACE_MAY_SUSPEND {
  std::vector<std::string> words = SplitWords(rest);
  const bool is_device = !words.empty() && words[0] == "-d";
  if (is_device) words.erase(words.begin());
  if (words.size() != 2) return "qemu-io: a device or node and a command in quotes are wanted\r\n";
  absl::StatusOr<IoTarget> target = FindTarget(layer, words[0], is_device);
  if (!target.ok()) return StrCat("Error: ", QmpErrorOf(target.status())->desc, "\r\n");
  const std::vector<std::string> command = SplitWords(words[1]);
  if (command.empty()) return {};
  std::string reply = CoRunCommand(layer, *target, command);
  // A request that goes on by itself has its own share in the back end.
  if (target->own != nullptr && target->own.use_count() == 1) target->own->CoDetach();
  return reply;
}

}  // namespace

void RegisterQemuIo(BlockLayer& layer) {
  layer.host().hmp.Register("qemu-io", [&layer](std::string_view rest)
                                           MILLRACE_MAY_SUSPEND { return CoQemuIo(layer, rest); });
}

}  // namespace millrace
