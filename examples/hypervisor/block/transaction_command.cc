// transaction: several actions that all happen or none does.
#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "examples/hypervisor/block/refusal.h"
#include "examples/hypervisor/block/snapshot_commands.h"
#include "examples/hypervisor/block/snapshot_plans.h"
#include "examples/hypervisor/block/user_bitmaps.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_view.h"

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

absl::StatusOr<BitmapUndo> ChangeBitmapsNow(BlockLayer& layer, const Action& action,
                                            ArgumentReader& reader) MILLRACE_OPENS_VIEW {
  const GraphView view(layer.graph());
  return ChangeBitmaps(layer, view, action.type, reader);
}

absl::Status CoPrepare(BlockLayer& layer, const Action& action, ArgumentReader& reader,
                       Prepared* done) MILLRACE_MAY_SUSPEND {
  std::vector<PreparedSnapshot>* const prepared = &done->snapshots;
  if (IsBitmapAction(action)) {
    MILLRACE_ASSIGN_OR_RETURN(BitmapUndo undo, ChangeBitmapsNow(layer, action, reader));
    done->undo.push_back(std::move(undo));
    return absl::OkStatus();
  }
  if (action.type == "blockdev-snapshot") {
    MILLRACE_ASSIGN_OR_RETURN(PreparedSnapshot snapshot,
                              PrepareSnapshotNow(layer, reader, *prepared));
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

// One action, by the checks that its preparation makes.
absl::Status PlanAction(SnapshotPlanner& planner, const Action& action, ArgumentReader& reader) {
  if (action.type == "blockdev-snapshot") return planner.Snapshot(reader);
  if (action.type == "blockdev-snapshot-sync") return planner.SnapshotSync(reader);
  if (IsBitmapAction(action)) return planner.ChangeBitmaps(action.type, reader);
  return RefuseAction(action);
}

PlanResult PlanTransaction(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  const json::array* list = reader.OptionalArray("actions");
  if (list == nullptr) return GenericError("Parameter 'actions' is missing");
  MILLRACE_ASSIGN_OR_RETURN(const std::vector<Action> actions, ReadActions(*list, reader));
  MILLRACE_RETURN_IF_ERROR(CheckCompletionMode(reader, actions));
  return PlanSnapshots(layer, [&](SnapshotPlanner& planner) -> absl::Status {
    for (size_t i = 0; i < actions.size(); ++i) {
      ArgumentReader data = reader.Nested(StrCat("actions[", i, "].data"), *actions[i].data);
      MILLRACE_RETURN_IF_ERROR(PlanAction(planner, actions[i], data));
    }
    return absl::OkStatus();
  });
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
