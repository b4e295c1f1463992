// What a qemu-io command would do. It reads and writes images, and gives a drive's back end the
// permissions for that, but changes no node; so what is found out is what it would be refused for,
// and what it would print that it has not understood.
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/qemu_io.h"
#include "examples/hypervisor/block/refusal.h"
#include "examples/hypervisor/qmp/argument_reader.h"
#include "examples/hypervisor/qmp/hmp_table.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/filters/break_points.h"
#include "millrace/graph/filters/fault_injection.h"
#include "millrace/graph/graph_transaction.h"

namespace millrace {
namespace {

struct PlannedTarget {
  Drive* drive = nullptr;  // null for a node
  NodeId node{};           // invalid: a drive without a medium
};

absl::StatusOr<PlannedTarget> FindPlannedTarget(BlockLayer& layer, const QemuIoLine& line)
    MILLRACE_OPENS_VIEW {
  PlannedTarget target;
  if (line.names_device) {
    MILLRACE_ASSIGN_OR_RETURN(target.drive, layer.FindBackendOfDevice(line.target));
  } else {
    target.drive = layer.FindDrive(line.target);
  }
  if (target.drive == nullptr) {
    MILLRACE_ASSIGN_OR_RETURN(target.node, layer.FindNode("", line.target));
  } else if (target.drive->backend.is_attached()) {
    target.node = target.drive->backend.node();
  }
  return target;
}

CommandPlan PlanOfLine(BlockLayer& layer, const QemuIoLine& line) MILLRACE_OPENS_VIEW {
  CommandPlan plan = PlanOfStep(StrCat("have qemu-io do '", line.words[0], "'"));
  LookAt(GraphTransaction(layer.graph()), &plan);
  return plan;
}

// A back end of the command's own goes with it; a drive's keeps what it was given.
PlanResult PlanWith(BlockLayer& layer, const PlannedTarget& target, PermissionSet wanted,
                    const QemuIoLine& line) MILLRACE_OPENS_VIEW {
  CommandPlan plan = PlanOfLine(layer, line);
  GraphTransaction change(layer.graph());
  Attachment own;
  if (target.drive != nullptr) {
    const Permissions now = target.drive->backend.permissions();
    if (now.used.Contains(wanted)) return plan;
    change.SetPermissions(target.drive->backend, {now.used | wanted, now.shared});
  } else {
    AttachmentOptions options;
    options.holder = MakeHolder("", "block device");
    options.purpose = "root";
    options.permissions.used = options.permissions.used | wanted;
    own = change.Attach(target.node, std::move(options));
  }
  const absl::Status refusal = change.Rehearse();
  if (!refusal.ok()) return RefusedLine(StrCat(RenderRefusal(refusal).desc, "\r\n"), refusal);
  if (target.drive != nullptr) LookAt(change, &plan);
  return plan;
}

absl::Status FailedAs(std::string_view name, int error_number) {
  return RefusedLine(StrCat(name, " failed: ", ErrnoText(error_number), "\n"));
}

absl::Status RefusedFor(const QemuIoMistake& mistake) {
  return RefusedLine(StrCat(mistake.complaint, mistake.output, mistake.answer));
}

PlanResult PlanIo(BlockLayer& layer, const PlannedTarget& target, const QemuIoLine& line)
    MILLRACE_OPENS_VIEW {
  QemuIoRequest request;
  if (const auto mistake = ParseIoRequest(line.words, &request)) return RefusedFor(*mistake);
  if (!target.node.is_valid()) return FailedAs(request.name, ENOMEDIUM);
  if (request.is_invalid) return PlanOfLine(layer, line);  // only counted
  MILLRACE_ASSIGN_OR_RETURN(CommandPlan plan,
                            PlanWith(layer, target, PermissionsFor(request, target.drive), line));
  const absl::Status refusal = CheckIoRequest(layer, target.node, request);
  if (!refusal.ok()) return RefusedLine(IoFailureText(request, refusal));
  if (!request.pattern_file.empty()) {
    plan.unknown.push_back(StrCat("whether '", request.pattern_file, "' can be read"));
  }
  plan.unknown.push_back("whether the image takes that request: only I/O tells");
  if (request.is_read() && request.pattern) {
    plan.unknown.push_back("whether what is read has the pattern: only reading it tells");
  }
  return plan;
}

PlanResult PlanBreak(BlockLayer& layer, const PlannedTarget& target, const QemuIoLine& line)
    MILLRACE_OPENS_VIEW {
  const std::shared_ptr<BreakPoints> points =
      target.node.is_valid() ? BreakPointsBelow(layer.graph(), target.node) : nullptr;
  const std::string& name = line.words[0];
  const std::string& word = line.words[1];
  CommandPlan plan = PlanOfLine(layer, line);
  if (name == "wait_break") {
    if (points == nullptr || points->IsSuspended(word)) return plan;
    plan.unknown.push_back("when a request will stand at that break point");
    return plan;
  }
  const bool is_found = points != nullptr && (name == "break"    ? IsFaultEvent(word)
                                              : name == "resume" ? points->IsSuspended(word)
                                                                 : points->Has(word));
  if (is_found) return plan;
  const std::string what = name == "break"    ? "Could not set breakpoint"
                           : name == "resume" ? "Could not resume request"
                                              : StrCat("Could not remove breakpoint ", word);
  return RefusedLine(StrCat(what, ": ", ErrnoText(points == nullptr ? ENOTSUP : ENOENT), "\n"));
}

PlanResult PlanTruncate(BlockLayer& layer, const PlannedTarget& target, const QemuIoLine& line)
    MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(CommandPlan plan, PlanWith(layer, target, kWrite | kResize, line));
  uint64_t bytes = 0;
  if (const auto mistake = ParseTruncate(line.words, &bytes)) return RefusedFor(*mistake);
  plan.unknown.push_back("whether the image can have that length: only its driver tells");
  return plan;
}

PlanResult PlanOther(BlockLayer& layer, const PlannedTarget& target, const QemuIoLine& line)
    MILLRACE_OPENS_VIEW {
  const std::string& name = line.words[0];
  if (name == "flush" || name == "aio_flush") return PlanOfLine(layer, line);
  if (!target.node.is_valid()) return FailedAs(name, ENOMEDIUM);
  if (name == "reopen") return PlanReopen(layer, target.drive, target.node, line.words);
  if (name == "truncate" || name == "t") return PlanTruncate(layer, target, line);
  if (name == "sleep" && !ParseSleepMilliseconds(line.words[1])) {
    return RefusedLine(NoSleep(line.words[1]));
  }
  for (size_t i = 1; name == "alloc" && i < line.words.size(); ++i) {
    if (!ParseIoNumber(line.words[i])) return RefusedLine(NoNumber(line.words[i]));
  }
  if (IsOneOf(name, {"info", "i", "length", "l", "map", "alloc", "sleep"})) {
    return PlanOfLine(layer, line);
  }
  return RefusedLine(StrCat("command \"", name, "\" not found\n"));
}

}  // namespace

PlanResult PlanQemuIo(BlockLayer& layer, std::string_view rest) {
  const absl::StatusOr<QemuIoLine> line = ReadQemuIoLine(rest);
  if (!line.ok()) return RefusedLine(FromAbsl(line.status().message()));
  const absl::StatusOr<PlannedTarget> target = FindPlannedTarget(layer, *line);
  if (!target.ok()) {
    const std::string text = RenderError(target.status(), &RenderRefusal).desc;
    return RefusedLine(StrCat("Error: ", text, "\r\n"), target.status());
  }
  if (line->words.empty()) return PlanOfStep("nothing: the command is empty");
  if (const auto mistake = CheckWordCount(line->words)) return RefusedLine(*mistake);
  const std::string& name = line->words[0];
  if (IsOneOf(name, {"read", "write", "readv", "writev", "aio_read", "aio_write", "discard"})) {
    return PlanIo(layer, *target, *line);
  }
  if (IsOneOf(name, {"break", "wait_break", "remove_break", "resume"})) {
    return PlanBreak(layer, *target, *line);
  }
  return PlanOther(layer, *target, *line);
}

}  // namespace millrace
