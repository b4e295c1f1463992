// Commands of the human monitor that have no like in QMP: drive_add, drive_del; and those about
// objects and devices (device_add is beside its like).
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

// What drive_add answers without running the option; nothing if it runs it.
std::optional<std::string> MistakeOfNode(BlockLayer& layer, std::string_view text) {
  const absl::StatusOr<OptionValue> options = ParseKeyval(text, "driver");
  if (!options.ok()) return HumanRefusal(layer, options.status());
  if (!TextOf(options->object, "node-name").empty()) return std::nullopt;
  return "'node-name' needs to be specified\r\n";
}

std::optional<std::string> MistakeOfDrive(BlockLayer& layer, std::string_view text) {
  const absl::StatusOr<DriveOptionValue> options = ParseDriveOptions(text);
  if (!options.ok()) return HumanRefusal(layer, options.status());
  // A drive with a place in the guest cannot be plugged in; a PC's usual place is IDE.
  constexpr std::string_view kInterfaces[] = {"none",   "ide", "scsi", "floppy",
                                              "pflash", "mtd", "sd",   "virtio"};
  std::string interface(TextOf(options->options.object, "if"));
  if (interface.empty()) interface = "ide";
  if (interface == "none") return std::nullopt;
  const auto found = std::find(std::begin(kInterfaces), std::end(kInterfaces), interface);
  return StrCat("Can't hot-add drive to type ", found - std::begin(kInterfaces), "\r\n");
}

// A drive, or with -n a node of the monitor's, as blockdev-add makes it.
struct DriveLine {
  std::string_view option;
  std::string text;
  std::optional<std::string> mistake;
};

DriveLine ReadDriveLine(BlockLayer& layer, const json::object& given) {
  const bool is_node = given.contains("node");
  DriveLine line = {is_node ? "blockdev" : "drive", std::string(TextOf(given, "opts")), {}};
  line.mistake = is_node ? MistakeOfNode(layer, line.text) : MistakeOfDrive(layer, line.text);
  return line;
}

std::string CoAddDrive(BlockLayer& layer, const json::object& given) MILLRACE_MAY_SUSPEND {
  const DriveLine line = ReadDriveLine(layer, given);
  if (line.mistake) return *line.mistake;
  const absl::Status status = layer.host().options.CoRun(line.option, line.text);
  if (!status.ok()) return HumanRefusal(layer, status);
  return line.option == "drive" ? "OK\r\n" : "";
}

PlanResult PlanAddDrive(BlockLayer& layer, const json::object& given) {
  const DriveLine line = ReadDriveLine(layer, given);
  if (line.mistake) return RefusedLine(*line.mistake);
  return AsPlanOfLine(layer, layer.host().options.Plan(line.option, line.text), &HumanRefusal);
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

void RegisterCommandLineOptions(BlockLayer& layer) {
  const OptionTable& options = layer.host().options;
  RegisterHuman(
      layer, "object_add", {"object_add", "", {{"options", HmpKind::kRest}}},
      [&layer, &options](const json::object& given) MILLRACE_MAY_SUSPEND {
        return HumanResult(layer, options.CoRun("object", TextOf(given, "options")));
      },
      [&layer, &options](const json::object& given) {
        return AsPlanOfLine(layer, options.Plan("object", TextOf(given, "options")), &HumanResult);
      });
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
  RegisterHuman(
      layer, "drive_add",
      {"drive_add", "", {{"node", HmpKind::kFlag, true, 'n'}, {"address"}, {"opts"}}},
      [&layer](const json::object& given) MILLRACE_MAY_SUSPEND { return CoAddDrive(layer, given); },
      [&layer](const json::object& given) { return PlanAddDrive(layer, given); });
  RegisterHuman(
      layer, "drive_del", {"drive_del", "", {{"id", HmpKind::kDevice}}},
      [&layer](const json::object& given)
          MILLRACE_MAY_SUSPEND { return CoDeleteDrive(layer, std::string(TextOf(given, "id"))); },
      [&layer](const json::object& given)
          MILLRACE_OPENS_VIEW { return PlanDeleteDrive(layer, std::string(TextOf(given, "id"))); });
}

}  // namespace millrace
