// transaction: several actions that all happen or none does.
#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/block/refusal.h"
#include "examples/hypervisor/block/snapshot_commands.h"
#include "examples/hypervisor/block/user_bitmaps.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kActions[] = {"abort",
                                         "block-dirty-bitmap-add",
                                         "block-dirty-bitmap-remove",
                                         "block-dirty-bitmap-clear",
                                         "block-dirty-bitmap-enable",
                                         "block-dirty-bitmap-disable",
                                         "block-dirty-bitmap-merge",
                                         "blockdev-backup",
                                         "blockdev-snapshot",
                                         "blockdev-snapshot-internal-sync",
                                         "blockdev-snapshot-sync",
                                         "drive-backup"};

struct Action {
  std::string type;
  const json::object* data;
};

absl::StatusOr<std::vector<Action>> ReadActions(const json::array& list, ArgumentReader& outer) {
  std::vector<Action> actions;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string name = StrCat("actions[", i, "]");
    if (!list[i].is_object()) {
      return GenericError(StrCat("Invalid parameter type for '", name, "', expected: object"));
    }
    ArgumentReader reader = outer.Nested(name, list[i].get_object());
    const std::string type = reader.String("type");
    const json::value* data = reader.OptionalAny("data");
    if (reader.ok() &&
        std::find(std::begin(kActions), std::end(kActions), type) == std::end(kActions)) {
      return GenericError(StrCat("Parameter 'type' does not accept value '", type, "'"));
    }
    if (reader.ok() && data == nullptr) {
      return GenericError(StrCat("Parameter '", name, ".data' is missing"));
    }
    MILLRACE_RETURN_IF_ERROR(reader.Finish());
    if (!data->is_object()) {
      return GenericError(StrCat("Invalid parameter type for '", name, ".data', expected: object"));
    }
    actions.push_back({type, &data->get_object()});
  }
  return actions;
}

absl::Status CheckCompletionMode(ArgumentReader& reader, const std::vector<Action>& actions) {
  constexpr std::string_view kModes[] = {"individual", "grouped"};
  std::optional<ArgumentReader> properties = reader.OptionalObject("properties");
  if (!properties) return reader.Finish();
  const bool is_grouped = properties->OptionalEnum("completion-mode", kModes).value_or(0) == 1;
  MILLRACE_RETURN_IF_ERROR(properties->Finish());
  for (const Action& action : actions) {
    if (!is_grouped || action.type == "abort") continue;
    return GenericError(
        StrCat("Action '", action.type,
               "' does not support Transaction property completion-mode = grouped"));
  }
  return absl::OkStatus();
}

bool IsBitmapAction(const Action& action) { return action.type.starts_with("block-dirty-bitmap-"); }

absl::Status RefuseAction(const Action& action) {
  if (action.type == "abort") {
    return GenericError("Transaction aborted using Abort action");
  }
  return GenericError(StrCat("Action '", action.type,
                             "' is not supported: in a transaction millraced takes "
                             "blockdev-snapshot, blockdev-snapshot-sync, "
                             "the block-dirty-bitmap commands and abort"));
}

// What was prepared, or done and can be taken back.
struct Prepared {
  std::vector<PreparedSnapshot> snapshots;
  std::vector<BitmapUndo> undo;  // oldest first
};

absl::Status CoPrepare(BlockLayer& layer, const Action& action, ArgumentReader& reader,
                       Prepared* done) MILLRACE_MAY_SUSPEND {
  std::vector<PreparedSnapshot>* const prepared = &done->snapshots;
  if (IsBitmapAction(action)) {
    MILLRACE_ASSIGN_OR_RETURN(BitmapUndo undo, ChangeBitmaps(layer, action.type, reader));
    done->undo.push_back(std::move(undo));
    return absl::OkStatus();
  }
  if (action.type == "blockdev-snapshot") {
    MILLRACE_ASSIGN_OR_RETURN(PreparedSnapshot snapshot, PrepareSnapshot(layer, reader, *prepared));
    for (const PreparedSnapshot& earlier : *prepared) {
      if (earlier.overlay == snapshot.overlay) {
        return Refuse(ConflictReason::kNodeInUse, reader.String("overlay"),
                      "The overlay is already in use",
                      "name another overlay: an earlier action has this one");
      }
    }
    prepared->push_back(std::move(snapshot));
    return absl::OkStatus();
  }
  if (action.type == "blockdev-snapshot-sync") {
    MILLRACE_ASSIGN_OR_RETURN(PreparedSnapshot snapshot,
                              CoPrepareSnapshotSync(layer, reader, *prepared));
    prepared->push_back(std::move(snapshot));
    return absl::OkStatus();
  }
  return RefuseAction(action);
}

CommandResult CoTransaction(BlockLayer& layer, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  const json::array* list = reader.OptionalArray("actions");
  if (list == nullptr) return GenericError("Parameter 'actions' is missing");
  MILLRACE_ASSIGN_OR_RETURN(const std::vector<Action> actions, ReadActions(*list, reader));
  MILLRACE_RETURN_IF_ERROR(CheckCompletionMode(reader, actions));
  Prepared prepared;
  absl::Status status;
  for (size_t i = 0; i < actions.size() && status.ok(); ++i) {
    ArgumentReader data = reader.Nested(StrCat("actions[", i, "].data"), *actions[i].data);
    status = CoPrepare(layer, actions[i], data, &prepared);
  }
  if (status.ok() && !prepared.snapshots.empty()) {
    status = CoApplySnapshots(layer, std::move(prepared.snapshots));
  } else {
    CoDropSnapshots(std::move(prepared.snapshots));
  }
  if (!status.ok()) {
    for (auto undo = prepared.undo.rbegin(); undo != prepared.undo.rend(); ++undo) (*undo)();
  }
  MILLRACE_RETURN_IF_ERROR(status);
  return json::object();
}

// What a plan has done to bitmaps; at its end they are as they were.
struct TakenBack {
  ~TakenBack() {
    for (auto each = undo.rbegin(); each != undo.rend(); ++each) (*each)();
  }
  std::vector<BitmapUndo> undo = {};  // oldest first
};

// One action, by the checks that its preparation makes; overlays that are there are staged.
absl::Status PlanAction(BlockLayer& layer, const Action& action, ArgumentReader& reader,
                        std::vector<PreparedSnapshot>* snapshots,
                        std::vector<PlannedSnapshot>* planned, TakenBack* done, CommandPlan* plan)
    MILLRACE_OPENS_VIEW {
  if (action.type == "blockdev-snapshot") {
    MILLRACE_ASSIGN_OR_RETURN(PreparedSnapshot snapshot,
                              PrepareSnapshot(layer, reader, *snapshots));
    planned->push_back({{snapshot.node, snapshot.overlay, snapshot.overlay_name, {}}, {}});
    snapshots->push_back(std::move(snapshot));
    return absl::OkStatus();
  }
  if (action.type == "blockdev-snapshot-sync") {
    MILLRACE_ASSIGN_OR_RETURN(SnapshotRequest request, ReadSnapshotSync(layer, reader, *snapshots));
    MILLRACE_RETURN_IF_ERROR(PlanSnapshotSync(layer, request, plan));
    snapshots->push_back({request.node, {}, request.node_name, {}});
    planned->push_back({{request.node, {}, request.node_name, {}}, std::move(request)});
    return absl::OkStatus();
  }
  if (IsBitmapAction(action)) {
    // Later actions build on it; it is taken back when all are planned.
    MILLRACE_ASSIGN_OR_RETURN(BitmapUndo undo, ChangeBitmaps(layer, action.type, reader));
    done->undo.push_back(std::move(undo));
    plan->steps.push_back(StrCat("carry out ", action.type));
    return absl::OkStatus();
  }
  return RefuseAction(action);
}

PlanResult PlanTransaction(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  const json::array* list = reader.OptionalArray("actions");
  if (list == nullptr) return GenericError("Parameter 'actions' is missing");
  MILLRACE_ASSIGN_OR_RETURN(const std::vector<Action> actions, ReadActions(*list, reader));
  MILLRACE_RETURN_IF_ERROR(CheckCompletionMode(reader, actions));
  CommandPlan plan;
  std::vector<PreparedSnapshot> snapshots;
  std::vector<PlannedSnapshot> planned;
  TakenBack done;
  for (size_t i = 0; i < actions.size(); ++i) {
    ArgumentReader data = reader.Nested(StrCat("actions[", i, "].data"), *actions[i].data);
    MILLRACE_RETURN_IF_ERROR(
        PlanAction(layer, actions[i], data, &snapshots, &planned, &done, &plan));
  }
  if (actions.size() > 1) {  // there is no chain that would tell of all
    plan.before.clear();
    plan.after.clear();
  }
  return PlanApply(layer, planned, std::move(plan));
}

}  // namespace

void RegisterTransaction(BlockLayer& layer) {
  layer.host().commands.SetPlanner(
      "transaction", [&layer](const json::object& arguments)
                         MILLRACE_OPENS_VIEW { return PlanTransaction(layer, arguments); });
  layer.host().commands.Register(
      {.name = "transaction",
       .arguments = {{{"actions", ArgumentType::kArray},
                      {"properties", ArgumentType::kObject, true}}},
       .handler = [&layer](const json::object& arguments)
                      MILLRACE_MAY_SUSPEND { return CoTransaction(layer, arguments); }});
}

}  // namespace millrace
