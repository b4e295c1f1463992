#include "examples/hypervisor/block/qemu_io.h"

#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/refusal.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/filters/fault_injection.h"
#include "millrace/graph/graph_transaction.h"

namespace millrace {

void PrintLikeQemuIo(BlockLayer& layer, std::string_view text) {
  layer.host().events.Flush();
  fwrite(text.data(), 1, text.size(), stdout);
  fflush(stdout);
}

void ComplainLikeQemuIo(std::string_view text) { fwrite(text.data(), 1, text.size(), stderr); }

absl::Status RequestPermissions(BlockLayer& layer, const Attachment& backend,
                                PermissionSet wanted) {
  const Permissions now = backend.permissions();
  if (now.used.Contains(wanted)) return absl::OkStatus();
  GraphTransaction change(layer.graph());
  change.SetPermissions(backend, {now.used | wanted, now.shared});
  return change.Commit().status();
}

PermissionSet PermissionsFor(const QemuIoRequest& request, const Drive* drive) {
  if (!request.is_read()) return kWrite;
  const bool keeps = drive != nullptr && drive->copies_on_read;
  return keeps ? kConsistentRead | kWriteUnchanged : kConsistentRead;
}

absl::StatusOr<QemuIoLine> ReadQemuIoLine(std::string_view rest) {
  std::vector<std::string> words = SplitWords(rest);
  QemuIoLine line;
  line.names_device = !words.empty() && words[0] == "-d";
  if (line.names_device) words.erase(words.begin());
  if (words.size() != 2) {
    const std::string_view missing = words.empty() ? "block device name" : "string";
    return absl::InvalidArgumentError(
        StrCat("qemu-io: ", missing, " expected\r\nTry \"help qemu-io\" for more information\r\n"));
  }
  line.target = std::move(words[0]);
  line.words = SplitWords(words[1]);
  if (line.words.empty()) return line;
  for (const auto& [alias, name] : {std::pair("r", "read"), std::pair("w", "write"),
                                    std::pair("d", "discard"), std::pair("f", "flush")}) {
    if (line.words[0] == alias) line.words[0] = name;
  }
  return line;
}

namespace {

absl::StatusOr<QemuIoTarget> TargetOfDevice(BlockLayer& layer, const std::string& name) {
  absl::StatusOr<Drive*> drive = layer.FindBackendOfDevice(name);
  if (!drive.ok()) return drive.status();
  return QemuIoTarget{&(*drive)->backend, nullptr, *drive};
}

absl::StatusOr<QemuIoTarget> FindTarget(BlockLayer& layer, const std::string& name, bool is_device)
    MILLRACE_OPENS_VIEW {
  if (is_device) return TargetOfDevice(layer, name);
  if (Drive* drive = layer.FindDrive(name)) return QemuIoTarget{&drive->backend, nullptr, drive};
  MILLRACE_ASSIGN_OR_RETURN(const NodeId node, layer.FindNode("", name));
  AttachmentOptions options;
  options.holder = MakeHolder("", "block device");
  options.purpose = "root";
  MILLRACE_ASSIGN_OR_RETURN(Attachment own,
                            Attachment::Attach(layer.graph(), node, std::move(options)));
  QemuIoTarget target;
  target.own = std::make_shared<Attachment>(std::move(own));
  target.backend = target.own.get();
  return target;
}

// ---- Requests ----------------------------------------------------------------------------------

std::string CoIo(BlockLayer& layer, const QemuIoTarget& target,
                 const std::vector<std::string>& words) MILLRACE_MAY_SUSPEND {
  QemuIoRequest request;
  if (auto mistake = ParseIoRequest(words, &request)) {
    ComplainLikeQemuIo(mistake->complaint);
    PrintLikeQemuIo(layer, mistake->output);
    return {};
  }
  if (!target.backend->is_attached()) {
    PrintLikeQemuIo(layer, StrCat(request.name, " failed: ", ErrnoText(ENOMEDIUM), "\n"));
    return {};
  }
  if (request.is_invalid) {
    PrintLikeQemuIo(
        layer, StrCat("injecting invalid ", request.is_read() ? "read" : "write", " request\n"));
    if (target.drive == nullptr) return {};
    target.drive->statistics.CountInvalid(request.is_read() ? CountedIo::kRead : CountedIo::kWrite,
                                          layer.host().engine.clock().Now());
    return {};
  }
  const absl::Status status =
      RequestPermissions(layer, *target.backend, PermissionsFor(request, target.drive));
  if (!status.ok()) return StrCat(RenderRefusal(status).desc, "\r\n");
  if (!request.is_asynchronous()) {
    CoRunIoRequest(layer, target, request);
    return {};
  }
  const bool is_started = layer.SpawnGuestRequest(target.drive, request.name,
                                                  [&layer, target, request]() MILLRACE_MAY_SUSPEND {
                                                    CoRunIoRequest(layer, target, request);
                                                    if (target.own != nullptr)
                                                      target.own->CoDetach();
                                                  });
  if (!is_started)
    PrintLikeQemuIo(layer, StrCat(request.name, " failed: ", ErrnoText(ENOMEM), "\n"));
  return {};
}

void CoFlush(BlockLayer& layer, const QemuIoTarget& target) MILLRACE_MAY_SUSPEND {
  if (!target.backend->is_attached()) return;
  const Nanoseconds start = layer.host().engine.clock().Now();
  const absl::Status status = target.backend->CoFlush();
  if (status.ok()) return;
  ComplainLikeQemuIo(StrCat("flush failed: ", ErrnoText(ErrnoOf(status)), "\n"));
  if (target.drive != nullptr) {
    const Nanoseconds now = layer.host().engine.clock().Now();
    target.drive->statistics.CountFailed(CountedIo::kFlush, now - start, now);
  }
}

// Waits until all that aio_ commands began is done; it is counted as a flush.
void CoAioFlush(BlockLayer& layer, const QemuIoTarget& target) MILLRACE_MAY_SUSPEND {
  const Nanoseconds start = layer.host().engine.clock().Now();
  layer.CoWaitForGuestRequests();
  if (target.drive == nullptr) return;
  const Nanoseconds now = layer.host().engine.clock().Now();
  target.drive->statistics.CountDone(CountedIo::kFlush, 0, now - start, now);
}

// ---- Break points ------------------------------------------------------------------------------

void PrintBreakError(BlockLayer& layer, std::string_view what, int error_number) {
  PrintLikeQemuIo(layer, StrCat(what, ": ", ErrnoText(error_number), "\n"));
}

int BreakErrno(const absl::Status& status) {
  return status.code() == absl::StatusCode::kNotFound ? ENOENT : EINVAL;
}

void SetBreak(BlockLayer& layer, BreakPoints* points, const std::string& event,
              const std::string& tag) {
  if (points == nullptr) return PrintBreakError(layer, "Could not set breakpoint", ENOTSUP);
  // QEMU calls an unknown event a missing one.
  if (!points->Add(event, tag).ok()) PrintBreakError(layer, "Could not set breakpoint", ENOENT);
}

void CoBreak(BlockLayer& layer, const Attachment& backend, const std::vector<std::string>& words)
    MILLRACE_MAY_SUSPEND {
  const bool is_break = words[0] == "break";
  const std::shared_ptr<BreakPoints> points =
      backend.is_attached() ? BreakPointsBelow(layer.graph(), backend.node()) : nullptr;
  if (is_break) return SetBreak(layer, points.get(), words[1], words[2]);
  if (words[0] == "wait_break") {
    if (points != nullptr) points->CoWaitSuspended(words[1]);
    return;
  }
  const bool is_resume = words[0] == "resume";
  const std::string what = is_resume ? std::string("Could not resume request")
                                     : StrCat("Could not remove breakpoint ", words[1]);
  if (points == nullptr) return PrintBreakError(layer, what, ENOTSUP);
  const absl::Status status = is_resume ? points->Resume(words[1]) : points->Remove(words[1]);
  if (!status.ok()) PrintBreakError(layer, what, BreakErrno(status));
}

std::string CoRunCommand(BlockLayer& layer, const QemuIoTarget& target,
                         const std::vector<std::string>& words) MILLRACE_MAY_SUSPEND {
  if (const std::optional<std::string> mistake = CheckWordCount(words)) {
    ComplainLikeQemuIo(*mistake);
    return {};
  }
  const std::string& name = words[0];
  for (const char* io : {"read", "write", "readv", "writev", "aio_read", "aio_write", "discard"}) {
    if (name == io) return CoIo(layer, target, words);
  }
  for (const char* point : {"break", "wait_break", "remove_break", "resume"}) {
    if (name == point) {
      CoBreak(layer, *target.backend, words);
      return {};
    }
  }
  if (name == "flush") {
    CoFlush(layer, target);
  } else if (name == "aio_flush") {
    CoAioFlush(layer, target);
  } else if (!target.backend->is_attached()) {
    PrintLikeQemuIo(layer, StrCat(name, " failed: ", ErrnoText(ENOMEDIUM), "\n"));
  } else if (name == "reopen") {
    return CoRunReopen(layer, target, words);
  } else if (const auto answer = CoRunInfoCommand(layer, target, words)) {
    return *answer;
  } else {
    ComplainLikeQemuIo(StrCat("command \"", name, "\" not found\n"));
  }
  return {};
}

std::string CoQemuIo(BlockLayer& layer, std::string_view rest) MILLRACE_MAY_SUSPEND {
  const absl::StatusOr<QemuIoLine> line = ReadQemuIoLine(rest);
  if (!line.ok()) return std::string(line.status().message());
  absl::StatusOr<QemuIoTarget> target = FindTarget(layer, line->target, line->names_device);
  if (!target.ok())
    return StrCat("Error: ", RenderError(target.status(), &RenderRefusal).desc, "\r\n");
  std::string reply;
  if (!line->words.empty()) reply = CoRunCommand(layer, *target, line->words);
  // A request that goes on by itself has its own share in the back end.
  if (target->own != nullptr && target->own.use_count() == 1) target->own->CoDetach();
  return reply;
}

}  // namespace

void RegisterQemuIo(BlockLayer& layer) {
  layer.host().hmp.Register("qemu-io", [&layer](std::string_view rest)
                                           MILLRACE_MAY_SUSPEND { return CoQemuIo(layer, rest); });
  layer.host().hmp.SetPlanner("qemu-io", [&layer](std::string_view rest) MILLRACE_OPENS_VIEW {
    return PlanQemuIo(layer, rest);
  });
}

}  // namespace millrace
