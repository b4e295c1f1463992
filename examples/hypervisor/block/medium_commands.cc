// Removable media: blockdev-open-tray, blockdev-close-tray, blockdev-remove-medium,
// blockdev-insert-medium, blockdev-change-medium, eject.
//
// A CD drive has a tray, which must be open while its medium is taken out or put in; a floppy drive
// has none. The guest locks nothing here.
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/node_checks.h"
#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/refusal.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open_tree.h"
#include "millrace/graph/operation_claim.h"

namespace millrace {
namespace {

// A drive, and how the client called it.
struct Slot {
  Drive* drive;
  std::string name;
};

absl::StatusOr<Slot> FindByDevice(BlockLayer& layer, const std::string& id) {
  MILLRACE_ASSIGN_OR_RETURN(Drive* const drive, layer.FindBackendOfDevice(id));
  return Slot{drive, id};
}

absl::StatusOr<Slot> FindSlot(BlockLayer& layer, ArgumentReader& reader) {
  const std::optional<std::string> device = reader.OptionalString("device");
  const std::optional<std::string> id = reader.OptionalString("id");
  if (device.has_value() == id.has_value()) {
    return GenericError("Need exactly one of 'device' and 'id'");
  }
  if (id) return FindByDevice(layer, *id);
  Drive* drive = layer.FindDrive(*device);
  if (drive == nullptr) return NoSuchDevice(*device);
  return Slot{drive, *device};
}

json::object KeepsItsMedium(const Slot& slot) {
  return DescribeRefusal({.reason = "not-removable",
                          .object = slot.name,
                          .next_step = "use a device whose medium can be taken out"});
}

json::object TrayIsClosed(const Slot& slot) {
  return DescribeRefusal({.reason = "tray-closed",
                          .object = slot.name,
                          .next_step = "open it with blockdev-open-tray first"});
}

// A drive that no device has taken is open to all.
absl::Status CheckRemovable(const Slot& slot) {
  const GuestDevice* device = slot.drive->device.get();
  if (device == nullptr || device->is_removable) return absl::OkStatus();
  return GenericError(StrCat("Device '", slot.name, "' is not removable"), KeepsItsMedium(slot));
}

bool HasTray(const Drive& drive) { return drive.device != nullptr && drive.device->has_tray; }

void MoveTray(BlockLayer& layer, Drive& drive, bool open) {
  if (!HasTray(drive) || drive.is_tray_open == open) return;
  drive.is_tray_open = open;
  layer.host().events.Emit(
      "DEVICE_TRAY_MOVED",
      {{"device", drive.id}, {"id", drive.device->shown_name()}, {"tray-open", open}});
}

absl::Status CheckTrayIsOpen(const Slot& slot) {
  if (!HasTray(*slot.drive) || slot.drive->is_tray_open) return absl::OkStatus();
  return GenericError(StrCat("Tray of device '", slot.name, "' is not open"), TrayIsClosed(slot));
}

absl::Status CoRemove(BlockLayer& layer, const Slot& slot) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(CheckRemovable(slot));
  MILLRACE_RETURN_IF_ERROR(CheckTrayIsOpen(slot));
  MILLRACE_RETURN_IF_ERROR(CheckMayLeaveDrive(layer, *slot.drive, Operation::kChange));
  if (slot.drive->backend.is_attached()) layer.CoTakeOutMedium(*slot.drive);
  return absl::OkStatus();
}

// QEMU does not say here which device it is.
absl::Status CheckInsert(const Slot& slot) {
  const GuestDevice* const device = slot.drive->device.get();
  if (device != nullptr && !device->is_removable) {
    return GenericError("Device is not removable", KeepsItsMedium(slot));
  }
  if (!CheckTrayIsOpen(slot).ok()) {
    return GenericError("Tray of the device is not open", TrayIsClosed(slot));
  }
  if (!slot.drive->backend.is_attached()) return absl::OkStatus();
  return GenericError(
      "There already is a medium in the device",
      DescribeRefusal(
          {.reason = "in-use", .object = slot.name, .next_step = "take out the medium first"}));
}

absl::Status Insert(BlockLayer& layer, const Slot& slot, NodeId node) MILLRACE_OPENS_VIEW {
  MILLRACE_RETURN_IF_ERROR(CheckInsert(slot));
  return layer.InsertMedium(*slot.drive, node);
}

// ---- Commands ----------------------------------------------------------------------------------

CommandResult OpenTray(BlockLayer& layer, const json::object& arguments) {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const Slot slot, FindSlot(layer, reader));
  MILLRACE_RETURN_IF_ERROR(CheckRemovable(slot));
  MoveTray(layer, *slot.drive, true);
  return json::object();
}

CommandResult CloseTray(BlockLayer& layer, const json::object& arguments) {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const Slot slot, FindSlot(layer, reader));
  MILLRACE_RETURN_IF_ERROR(CheckRemovable(slot));
  MoveTray(layer, *slot.drive, false);
  return json::object();
}

CommandResult CoRemoveMedium(BlockLayer& layer, const json::object& arguments)
    MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const Slot slot, FindByDevice(layer, reader.String("id")));
  MILLRACE_RETURN_IF_ERROR(CoRemove(layer, slot));
  return json::object();
}

absl::StatusOr<NodeId> FreeNode(BlockLayer& layer, const std::string& name) MILLRACE_OPENS_VIEW {
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> node = view.Find(name);
  if (!node.ok()) return RefuseUnknownNode(name, StrCat("Node '", name, "' not found"));
  if (layer.HasBackend(node->id())) {
    return RefuseForHolders(ConflictReason::kNodeInUse, name, node->users(layer.monitor()),
                            StrCat("Node '", name, "' is already in use"));
  }
  return node->id();
}

CommandResult InsertMedium(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const Slot slot, FindByDevice(layer, reader.String("id")));
  MILLRACE_ASSIGN_OR_RETURN(const NodeId node, FreeNode(layer, reader.String("node-name")));
  MILLRACE_RETURN_IF_ERROR(Insert(layer, slot, node));
  return json::object();
}

CommandResult CoEject(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const Slot slot, FindSlot(layer, reader));
  MILLRACE_RETURN_IF_ERROR(CheckRemovable(slot));
  MoveTray(layer, *slot.drive, true);
  MILLRACE_RETURN_IF_ERROR(CoRemove(layer, slot));
  return json::object();
}

constexpr std::string_view kReadOnlyModes[] = {"retain", "read-only", "read-write"};

NodeTree NewMedium(ArgumentReader& reader, const Slot& slot) {
  NodeTree tree;
  tree.filename = reader.String("filename");
  tree.driver = reader.OptionalString("format").value_or("");
  const size_t mode = reader.OptionalEnum("read-only-mode", kReadOnlyModes).value_or(0);
  tree.is_read_only = mode == 0 ? slot.drive->is_read_only : mode == 1;
  return tree;
}

CommandResult CoChangeMedium(BlockLayer& layer, const json::object& arguments)
    MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const Slot slot, FindSlot(layer, reader));
  MILLRACE_ASSIGN_OR_RETURN(Attachment hold, layer.CoOpen(NewMedium(reader, slot)));
  absl::Status status = CheckRemovable(slot);
  if (status.ok()) {
    MoveTray(layer, *slot.drive, true);
    status = CoRemove(layer, slot);
  }
  if (status.ok()) status = Insert(layer, slot, hold.node());
  if (status.ok()) MoveTray(layer, *slot.drive, false);
  hold.CoDetach();
  MILLRACE_RETURN_IF_ERROR(status);
  return json::object();
}

// ---- Plans -------------------------------------------------------------------------------------

std::string TrayStep(const Slot& slot, bool open) {
  if (!HasTray(*slot.drive)) return StrCat("nothing: device '", slot.name, "' has no tray");
  if (slot.drive->is_tray_open == open) {
    return StrCat("nothing: the tray of '", slot.name, "' is ", open ? "open" : "closed");
  }
  return StrCat(open ? "open" : "close", " the tray of '", slot.name, "'");
}

std::string RemoveStep(const Slot& slot) {
  return slot.drive->backend.is_attached() ? StrCat("take the medium out of '", slot.name, "'")
                                           : StrCat("nothing: '", slot.name, "' is empty");
}

PlanResult PlanTray(BlockLayer& layer, const json::object& arguments, bool open) {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const Slot slot, FindSlot(layer, reader));
  MILLRACE_RETURN_IF_ERROR(CheckRemovable(slot));
  return PlanOfStep(TrayStep(slot, open));
}

PlanResult PlanWithoutMedium(BlockLayer& layer, const Slot& slot, CommandPlan plan)
    MILLRACE_OPENS_VIEW {
  GraphTransaction change(layer.graph());
  layer.StageTakeOut(change, *slot.drive);
  return PlanOfEdit(change, std::move(plan));
}

PlanResult PlanRemoveMedium(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const Slot slot, FindByDevice(layer, reader.String("id")));
  MILLRACE_RETURN_IF_ERROR(CheckRemovable(slot));
  MILLRACE_RETURN_IF_ERROR(CheckTrayIsOpen(slot));
  MILLRACE_RETURN_IF_ERROR(CheckMayLeaveDrive(layer, *slot.drive, Operation::kChange));
  return PlanWithoutMedium(layer, slot, PlanOfStep(RemoveStep(slot)));
}

PlanResult PlanInsertMedium(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const Slot slot, FindByDevice(layer, reader.String("id")));
  const std::string name = reader.String("node-name");
  MILLRACE_ASSIGN_OR_RETURN(const NodeId node, FreeNode(layer, name));
  MILLRACE_RETURN_IF_ERROR(CheckInsert(slot));
  CommandPlan plan = PlanOfStep(StrCat("put node '", name, "' into '", slot.name, "'"));
  MILLRACE_RETURN_IF_ERROR(layer.RehearseInsertMedium(*slot.drive, node, &plan));
  return plan;
}

PlanResult PlanEject(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const Slot slot, FindSlot(layer, reader));
  MILLRACE_RETURN_IF_ERROR(CheckRemovable(slot));
  MILLRACE_RETURN_IF_ERROR(CheckMayLeaveDrive(layer, *slot.drive, Operation::kChange));
  CommandPlan plan = PlanOfStep(TrayStep(slot, true));
  plan.steps.push_back(RemoveStep(slot));
  return PlanWithoutMedium(layer, slot, std::move(plan));
}

absl::Status RehearseOpenMedium(BlockLayer& layer, ArgumentReader& reader, const Slot& slot)
    MILLRACE_OPENS_VIEW {
  GraphTransaction change(layer.graph());
  return layer.RehearseOpen(change, NewMedium(reader, slot)).status();
}

// The new image is opened before anything else; whether it can be, only the host can tell.
PlanResult PlanChangeMedium(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const Slot slot, FindSlot(layer, reader));
  MILLRACE_RETURN_IF_ERROR(RehearseOpenMedium(layer, reader, slot));
  MILLRACE_RETURN_IF_ERROR(CheckRemovable(slot));
  MILLRACE_RETURN_IF_ERROR(CheckMayLeaveDrive(layer, *slot.drive, Operation::kChange));
  CommandPlan plan = PlanOfStep(StrCat("open '", reader.String("filename"), "'"));
  plan.steps.push_back(TrayStep(slot, true));
  plan.steps.push_back(RemoveStep(slot));
  plan.steps.push_back(StrCat("put the new medium into '", slot.name, "', and close its tray"));
  Attachment backend;
  return layer.PlanOpenUnder([&] { return NewMedium(reader, slot); }, std::move(plan),
                             [&](GraphTransaction& change, NodeId top) {
                               layer.StageTakeOut(change, *slot.drive);
                               const absl::StatusOr<NodeView> medium = change.Resolve(top);
                               const bool is_read_only = medium.ok() && medium->is_read_only();
                               backend = change.Attach(
                                   top, layer.MediumOptions(*slot.drive, is_read_only));
                             });
}

void SetMediumPlanners(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  commands.SetPlanner("blockdev-open-tray",
                      [&layer](const json::object& given) { return PlanTray(layer, given, true); });
  commands.SetPlanner("blockdev-close-tray", [&layer](const json::object& given) {
    return PlanTray(layer, given, false);
  });
  commands.SetPlanner("blockdev-remove-medium",
                      [&layer](const json::object& given)
                          MILLRACE_OPENS_VIEW { return PlanRemoveMedium(layer, given); });
  commands.SetPlanner("blockdev-insert-medium",
                      [&layer](const json::object& given)
                          MILLRACE_OPENS_VIEW { return PlanInsertMedium(layer, given); });
  commands.SetPlanner("eject", [&layer](const json::object& given)
                                   MILLRACE_OPENS_VIEW { return PlanEject(layer, given); });
  commands.SetPlanner("blockdev-change-medium",
                      [&layer](const json::object& given)
                          MILLRACE_OPENS_VIEW { return PlanChangeMedium(layer, given); });
}

}  // namespace

void RegisterMediumCommands(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  const ArgumentSpec device{"device", ArgumentType::kString, true};
  const ArgumentSpec id{"id", ArgumentType::kString, true};
  const ArgumentSpec force{"force", ArgumentType::kBool, true};
  commands.Register(
      {.name = "blockdev-open-tray",
       .arguments = {{device, id, force}},
       .handler = [&layer](const json::object& given) { return OpenTray(layer, given); }});
  commands.Register(
      {.name = "blockdev-close-tray",
       .arguments = {{device, id}},
       .handler = [&layer](const json::object& given) { return CloseTray(layer, given); }});
  commands.Register({.name = "blockdev-remove-medium",
                     .arguments = {{{"id"}}},
                     .handler = [&layer](const json::object& given)
                                    MILLRACE_MAY_SUSPEND { return CoRemoveMedium(layer, given); }});
  commands.Register({.name = "blockdev-insert-medium",
                     .arguments = {{{"id"}, {"node-name"}}},
                     .handler = [&layer](const json::object& given)
                                    MILLRACE_MAY_SUSPEND { return InsertMedium(layer, given); }});
  commands.Register({.name = "eject",
                     .arguments = {{device, id, force}},
                     .handler = [&layer](const json::object& given)
                                    MILLRACE_MAY_SUSPEND { return CoEject(layer, given); }});
  commands.Register({.name = "blockdev-change-medium",
                     .arguments = {{device,
                                    id,
                                    {"filename"},
                                    {"format", ArgumentType::kString, true},
                                    force,
                                    {"read-only-mode",
                                     ArgumentType::kEnum,
                                     true,
                                     {std::begin(kReadOnlyModes), std::end(kReadOnlyModes)}}}},
                     .handler = [&layer](const json::object& given)
                                    MILLRACE_MAY_SUSPEND { return CoChangeMedium(layer, given); }});
  SetMediumPlanners(layer);
}

}  // namespace millrace
