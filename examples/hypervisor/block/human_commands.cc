// Commands of the human monitor that tools still use, besides qemu-io: info, stop, cont, drive_del.
// Each answers with what a terminal would show; nothing if all is well.
#include <optional>
#include <string>
#include <string_view>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/operation_claim.h"

namespace millrace {
namespace {

std::string InfoJobs(BlockLayer& layer) {
  std::string text;
  for (const JobInfo& job : layer.jobs().QueryAll()) {
    if (job.is_internal) continue;
    StrAppend(&text, "Type ", job.type, ", device ", job.id, ": Completed ", job.current, " of ",
              job.total, " bytes, speed limit ", job.speed, " bytes/s\r\n");
  }
  return text.empty() ? "No active jobs\r\n" : text;
}

// Runs a command of QMP that takes nothing.
CommandResult CoAsk(BlockLayer& layer, std::string_view name) MILLRACE_MAY_SUSPEND {
  return layer.host().commands.CoCall(name, json::object());
}

std::string CoInfoStatus(BlockLayer& layer) MILLRACE_MAY_SUSPEND {
  const CommandResult status = CoAsk(layer, "query-status");
  const bool runs = status.ok() && status->at("running").as_bool();
  return StrCat("VM status: ", runs ? "running" : "paused", "\r\n");
}

std::string CoInfo(BlockLayer& layer, std::string_view what) MILLRACE_MAY_SUSPEND {
  if (what == "block-jobs") return InfoJobs(layer);
  if (what == "status") return CoInfoStatus(layer);
  return StrCat("unknown command: 'info ", what, "'\r\n");
}

// The drive goes, whatever stands on it; a guest device that had it keeps an empty place.
std::string CoDeleteDrive(BlockLayer& layer, std::string_view id) MILLRACE_MAY_SUSPEND {
  Drive* const drive = layer.FindDrive(id);
  if (drive == nullptr) return StrCat("Device '", id, "' not found\r\n");
  if (drive->backend.is_attached()) {
    GraphView view(layer.graph());
    const absl::Status claims =
        OperationClaim::Check(view, drive->backend.node(), Operation::kDelete);
    if (!claims.ok()) {
      return StrCat(RenderError(claims, layer.host().renderer).desc, "\r\n");
    }
  }
  if (drive->device == nullptr) {
    layer.CoRemoveDrive(*drive);
  } else {
    drive->backend.CoDetach();
    drive->id.clear();
  }
  return "";
}

}  // namespace

void RegisterHumanCommands(BlockLayer& layer) {
  HmpTable& hmp = layer.host().hmp;
  hmp.Register(
      "info", [&layer](std::string_view what) MILLRACE_MAY_SUSPEND { return CoInfo(layer, what); });
  for (const char* name : {"stop", "cont"}) {
    hmp.Register(name, [&layer, name](std::string_view) MILLRACE_MAY_SUSPEND -> std::string {
      const CommandResult done = CoAsk(layer, name);
      return done.ok() ? "" : StrCat("Error: ", done.status().message(), "\r\n");
    });
  }
  hmp.Register("drive_del", [&layer](std::string_view id)
                                MILLRACE_MAY_SUSPEND { return CoDeleteDrive(layer, id); });
}

}  // namespace millrace
