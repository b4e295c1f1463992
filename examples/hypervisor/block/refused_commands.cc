// Commands of QEMU's block layer that millraced knows and does not have: they are refused by name,
// with what to use instead, so that a client need not guess. And small ones that need no file of
// their own.
#include <unistd.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/refusal.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

struct Refused {
  std::string_view name;
  std::string_view instead;
};

constexpr Refused kRefused[] = {
    {"blockdev-backup", "this millraced has no backup job yet; mirror the node instead"},
    {"drive-backup", "this millraced has no backup job yet; mirror the node instead"},
    {"blockdev-snapshot-internal-sync",
     "internal snapshots cannot be taken of a live image; use "
     "blockdev-snapshot"},
    {"blockdev-snapshot-delete-internal-sync", "internal snapshots are kept as they are"},
    {"x-blockdev-amend", "images cannot be amended while they are open; use qemu-img"},
};

// ---- iothreads ---------------------------------------------------------------------------------

// All of them are names of the one thread that does everything.
CommandResult QueryIothreads(BlockLayer& layer) {
  json::array shown;
  for (const std::string& id : layer.host().objects.IdsOf("iothread")) {
    shown.push_back({{"id", id},
                     {"thread-id", static_cast<int64_t>(getpid())},
                     {"poll-max-ns", 0},
                     {"poll-grow", 0},
                     {"poll-shrink", 0},
                     {"aio-max-batch", 0}});
  }
  return shown;
}

// There is nothing to do: all iothreads are one.
absl::Status CheckIothread(BlockLayer& layer, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  const std::string name = reader.String("node-name");
  const json::value* iothread = reader.OptionalAny("iothread");
  const bool force = reader.OptionalBool("force").value_or(false);
  if (iothread == nullptr) return GenericError("Parameter 'iothread' is missing");
  GraphView view(layer.graph());
  absl::StatusOr<NodeView> node = view.Find(name);
  if (!node.ok()) {
    return RefuseUnknownNode(name, StrCat("Failed to find node with node-name='", name, "'"));
  }
  if (!force && layer.HasBackend(node->id())) {
    return RefuseForHolders(ConflictReason::kNodeInUse, name, node->users(layer.monitor()),
                            StrCat("Node ", name,
                                   " is associated with a BlockBackend and could be in "
                                   "use (use force=true to override this check)"));
  }
  if (iothread->is_null()) return absl::OkStatus();
  if (!iothread->is_string()) {
    return GenericError("Invalid parameter type for 'iothread', expected: string");
  }
  const std::string thread(View(iothread->get_string()));
  if (layer.host().objects.Find("iothread", thread) == nullptr) {
    return GenericError(StrCat("Cannot find iothread ", thread));
  }
  return absl::OkStatus();
}

absl::Status RefuseByName(const Refused& refused) {
  return GenericError(StrCat("'", refused.name, "': ", refused.instead));
}

}  // namespace

void RegisterRefusedCommands(BlockLayer& layer) {
  CommandTable& commands = layer.host().commands;
  for (const Refused& refused : kRefused) {
    const std::string name(refused.name);
    commands.Register({.name = name, .handler = [refused](const json::object&) -> CommandResult {
                         return RefuseByName(refused);
                       }});
    commands.SetPlanner(
        name, [refused](const json::object&) -> PlanResult { return RefuseByName(refused); });
  }
  commands.Register({.name = "query-iothreads",
                     .arguments = {{}},
                     .handler = [&layer](const json::object&) { return QueryIothreads(layer); }});
  commands.Register(
      {.name = "x-blockdev-set-iothread",
       .arguments = {{{"node-name"},
                      {"iothread", ArgumentType::kAny},
                      {"force", ArgumentType::kBool, true}}},
       .handler = [&layer](const json::object& arguments) MILLRACE_MAY_SUSPEND -> CommandResult {
         MILLRACE_RETURN_IF_ERROR(CheckIothread(layer, arguments));
         return json::object();
       }});
  commands.SetPlanner(
      "x-blockdev-set-iothread",
      [&layer](const json::object& arguments) MILLRACE_OPENS_VIEW -> PlanResult {
        MILLRACE_RETURN_IF_ERROR(CheckIothread(layer, arguments));
        return PlanOfStep("leave the node where it is: all iothreads are one thread");
      });
}

}  // namespace millrace
