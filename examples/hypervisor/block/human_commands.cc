// Commands of the human monitor that have no like in QMP: drive_add, drive_del; and those that take
// options as a command line does: object_add, object_del, device_add, device_del.
#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include "examples/hypervisor/block/human_tools.h"
#include "examples/hypervisor/block/node_checks.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/options/keyval.h"
#include "examples/hypervisor/qmp/json_fields.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/operation_claim.h"

namespace millrace {
namespace {

// ---- drive_add, drive_del ----------------------------------------------------------------------

// A node of the monitor's, as blockdev-add makes it.
std::string CoAddNode(BlockLayer& layer, std::string_view text) MILLRACE_MAY_SUSPEND {
  const absl::StatusOr<OptionValue> options = ParseKeyval(text, "driver");
  if (!options.ok()) return HumanRefusal(layer, options.status());
  if (TextOf(options->object, "node-name").empty()) {
    return "'node-name' needs to be specified\r\n";
  }
  const absl::Status status = layer.host().options.CoRun("blockdev", text);
  return status.ok() ? std::string() : HumanRefusal(layer, status);
}

std::string CoAddDrive(BlockLayer& layer, const json::object& given) MILLRACE_MAY_SUSPEND {
  const std::string text(TextOf(given, "opts"));
  if (given.contains("node")) return CoAddNode(layer, text);
  const absl::StatusOr<DriveOptionValue> options = ParseDriveOptions(text);
  if (!options.ok()) return HumanRefusal(layer, options.status());
  // A drive with a place in the guest cannot be plugged in; a PC's usual place is IDE.
  constexpr std::string_view kInterfaces[] = {"none",   "ide", "scsi", "floppy",
                                              "pflash", "mtd", "sd",   "virtio"};
  std::string interface(TextOf(options->options.object, "if"));
  if (interface.empty()) interface = "ide";
  if (interface != "none") {
    const auto found = std::find(std::begin(kInterfaces), std::end(kInterfaces), interface);
    return StrCat("Can't hot-add drive to type ", found - std::begin(kInterfaces), "\r\n");
  }
  const absl::Status status = layer.host().options.CoRun("drive", text);
  return status.ok() ? "OK\r\n" : HumanRefusal(layer, status);
}

// "drive_del NODE" is blockdev-del.
std::string CoDeleteNode(BlockLayer& layer, const std::string& name) MILLRACE_MAY_SUSPEND {
  const json::object arguments = {{"node-name", name}};
  const absl::Status status = layer.host().commands.CoCall("blockdev-del", arguments).status();
  return status.ok() ? std::string() : HumanRefusal(layer, status);
}

bool HasNode(BlockLayer& layer, const std::string& name) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  return view.Find(name).ok();
}

// The drive goes, whatever stands on it; a guest device that had it keeps an empty place.
std::string CoDeleteDrive(BlockLayer& layer, const std::string& id) MILLRACE_MAY_SUSPEND {
  if (HasNode(layer, id)) return CoDeleteNode(layer, id);
  Drive* const drive = layer.FindDrive(id);
  if (drive == nullptr) return StrCat("Device '", id, "' not found\r\n");
  const absl::Status claims = CheckMayLeaveDrive(layer, *drive, Operation::kDelete);
  if (!claims.ok()) return HumanRefusal(layer, claims);
  if (drive->device == nullptr) {
    layer.CoRemoveDrive(*drive);
  } else {
    layer.CoTakeOutMedium(*drive);
    drive->id.clear();
  }
  return "";
}

PlanResult PlanDeleteDrive(BlockLayer& layer, const std::string& id) MILLRACE_OPENS_VIEW {
  if (HasNode(layer, id)) {
    // Without "Error: ", as CoDeleteNode() tells it.
    const CommandPlanner& planner = *layer.host().commands.FindPlanner("blockdev-del");
    PlanResult plan = planner({{"node-name", id}});
    return plan.ok() ? plan : RefusedLine(HumanRefusal(layer, plan.status()), plan.status());
  }
  Drive* const drive = layer.FindDrive(id);
  if (drive == nullptr) return RefusedLine(StrCat("Device '", id, "' not found\r\n"));
  const absl::Status claims = CheckMayLeaveDrive(layer, *drive, Operation::kDelete);
  if (!claims.ok()) return RefusedLine(HumanRefusal(layer, claims), claims);
  GraphTransaction change(layer.graph());
  layer.StageTakeOut(change, *drive);
  return PlanOfEdit(change, PlanOfStep(StrCat("take away drive '", id, "'")));
}

// ---- Objects and devices -----------------------------------------------------------------------

std::string CoRunOption(BlockLayer& layer, std::string_view option, const json::object& given)
    MILLRACE_MAY_SUSPEND {
  return HumanResult(layer, layer.host().options.CoRun(option, TextOf(given, "options")));
}

void RegisterCommandLineOptions(BlockLayer& layer) {
  RegisterHuman(layer, "object_add", {"object_add", "", {{"options", HmpKind::kRest}}},
                [&layer](const json::object& given)
                    MILLRACE_MAY_SUSPEND { return CoRunOption(layer, "object", given); });
  RegisterHuman(layer, "device_add", {"device_add", "", {{"options"}}},
                [&layer](const json::object& given)
                    MILLRACE_MAY_SUSPEND { return CoRunOption(layer, "device", given); });
  RegisterHumanCaller(
      layer, "object_del", {"object_del", "", {{"id"}}},
      [](const json::object& given, const HumanCall& call) { return call("object-del", given); });
  RegisterHumanCaller(
      layer, "device_del", {"device_del", "", {{"id"}}},
      [](const json::object& given, const HumanCall& call) { return call("device_del", given); });
}

}  // namespace

void RegisterHumanCommands(BlockLayer& layer) {
  RegisterHumanInfo(layer);
  RegisterHumanRequests(layer);
  RegisterCommandLineOptions(layer);
  RegisterHuman(layer, "drive_add",
                {"drive_add", "", {{"node", HmpKind::kFlag, true, 'n'}, {"address"}, {"opts"}}},
                [&layer](const json::object& given)
                    MILLRACE_MAY_SUSPEND { return CoAddDrive(layer, given); });
  RegisterHuman(
      layer, "drive_del", {"drive_del", "", {{"id", HmpKind::kDevice}}},
      [&layer](const json::object& given)
          MILLRACE_MAY_SUSPEND { return CoDeleteDrive(layer, std::string(TextOf(given, "id"))); },
      [&layer](const json::object& given)
          MILLRACE_OPENS_VIEW { return PlanDeleteDrive(layer, std::string(TextOf(given, "id"))); });
}

}  // namespace millrace
