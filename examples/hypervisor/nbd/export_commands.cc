// block-export-add, block-export-del, query-block-exports, --export.
#include <string>
#include <utility>

#include "examples/hypervisor/block/plan_tools.h"
#include "examples/hypervisor/nbd/export_options.h"
#include "examples/hypervisor/nbd/protocol.h"
#include "examples/hypervisor/options/keyval.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

constexpr std::string_view kTypes[] = {"nbd", "vhost-user-blk", "fuse", "vduse-blk"};

// A name, or {node, name}; the first is told, since none exists.
std::string RefuseBitmaps(ArgumentReader& reader) {
  const json::array* const bitmaps = reader.OptionalArray("bitmaps");
  if (bitmaps == nullptr || bitmaps->empty()) return {};
  const json::value& first = bitmaps->front();
  if (first.is_string()) return StrCat("Bitmap '", View(first.get_string()), "' is not found");
  if (!first.is_object()) {
    reader.Fail(GenericError("Invalid parameter type for 'bitmaps[0]', expected: string"));
    return {};
  }
  ArgumentReader nested = reader.Nested("bitmaps[0]", first.get_object());
  nested.String("node");
  const std::string name = nested.String("name");
  nested.Finish().IgnoreError();  // shared with its parent
  return StrCat("Dirty bitmap '", name, "' not found");
}

absl::Status IdIsTaken(const std::string& id) {
  return GenericError(
      StrCat("Block export id '", id, "' is already in use"),
      DescribeRefusal({.reason = "duplicate-id",
                       .object = id,
                       .next_step = "choose another id, or remove that export first",
                       .holders = {{.id = id, .type = "export"}}}));
}

struct ExportArguments {
  ExportRequest request;
  std::string node_name;
  std::optional<std::string> iothread;
};

absl::StatusOr<ExportArguments> ReadExport(ArgumentReader& reader) {
  ExportArguments read;
  const size_t type = reader.Enum("type", kTypes);
  NbdExportOptions& options = read.request.options;
  options.id = reader.String("id");
  reader.OptionalBool("fixed-iothread");
  read.iothread = reader.OptionalString("iothread");
  read.node_name = reader.String("node-name");
  options.is_writable = reader.OptionalBool("writable").value_or(false);
  options.is_writethrough = reader.OptionalBool("writethrough").value_or(false);
  if (reader.ok() && type != 0) {
    return GenericError(StrCat("No driver found for the requested export type"));
  }
  options.name = reader.OptionalString("name").value_or(read.node_name);
  options.description = reader.OptionalString("description").value_or("");
  read.request.bitmap_refusal = RefuseBitmaps(reader);
  options.tells_allocation_depth = reader.OptionalBool("allocation-depth").value_or(false);
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  return read;
}

absl::StatusOr<ExportRequest> ReadExportAdd(NbdPart& part, ArgumentReader& reader)
    MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(ExportArguments read, ReadExport(reader));
  const NbdExportOptions& options = read.request.options;
  if (!IsIdentifier(options.id)) return GenericError("Invalid block export id");
  if (part.Find(options.id) != nullptr) {
    return IdIsTaken(options.id);
  }
  MILLRACE_ASSIGN_OR_RETURN(read.request.node, part.layer().FindNode("", read.node_name));
  if (options.is_writable && part.layer().IsReadOnly(read.request.node)) {
    return GenericError(
        "Cannot export read-only node as writable",
        DescribeRefusal({.reason = ConflictReasonName(ConflictReason::kReadOnly),
                         .object = read.node_name,
                         .next_step = "reopen the node writable first, or export it read-only"}));
  }
  if (read.iothread && part.host().objects.Find("iothread", *read.iothread) == nullptr) {
    return GenericError(StrCat("iothread \"", *read.iothread, "\" not found"),
                        DescribeRefusal({.reason = "unknown-object",
                                         .object = *read.iothread,
                                         .next_step = "add it with object-add first"}));
  }
  return std::move(read.request);
}

absl::Status ExportAdd(NbdPart& part, ArgumentReader& reader) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(ExportRequest request, ReadExportAdd(part, reader));
  return AddExport(part, std::move(request));
}

PlanResult PlanExportAdd(NbdPart& part, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const ExportRequest request, ReadExportAdd(part, reader));
  return PlanExport(part, request,
                    StrCat("export '", request.options.name, "' as '", request.options.id, "'"));
}

PlanResult PlanExportDel(NbdPart& part, const json::object& arguments) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  const std::string id = reader.String("id");
  const bool is_hard = reader.OptionalString("mode").value_or("safe") == "hard";
  MILLRACE_RETURN_IF_ERROR(part.CheckRemoveExport(id, is_hard));
  return part.PlanEnd(PlanOfStep(StrCat("end the export '", id, "'")), id);
}

CommandResult QueryExports(NbdPart& part) MILLRACE_OPENS_VIEW {
  GraphView view(part.layer().graph());
  json::array shown;
  for (const std::shared_ptr<NbdExport>& each : part.exports()) {
    absl::StatusOr<NodeView> node = view.Resolve(each->backend().node());
    shown.push_back(json::object{{"node-name", node.ok() ? node->name() : std::string()},
                                 {"shutting-down", each->is_ending()},
                                 {"type", "nbd"},
                                 {"id", each->id()}});
  }
  return shown;
}

CommandResult CoExportDel(NbdPart& part, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  const std::string id = reader.String("id");
  const bool is_hard = reader.OptionalString("mode").value_or("safe") == "hard";
  MILLRACE_RETURN_IF_ERROR(part.CoRemoveExport(id, is_hard));
  return json::object();
}

// What the server says of it.
absl::Status CheckExport(const NbdPart& part, const ExportRequest& request) {
  const NbdExportOptions& options = request.options;
  MILLRACE_RETURN_IF_ERROR(part.CheckIsRunning());
  if (options.name.size() > nbd::kStringBytesMax) {
    return GenericError(StrCat("export name '", options.name, "' too long"));
  }
  if (options.description.size() > nbd::kStringBytesMax) {
    return GenericError(StrCat("description '", options.description, "' too long"));
  }
  for (const std::shared_ptr<NbdExport>& each : part.exports()) {
    if (each->is_ending() || each->name() != options.name) continue;
    return GenericError(
        StrCat("NBD server already has export named '", options.name, "'"),
        DescribeRefusal(
            {.reason = "duplicate-name",
             .object = options.name,
             .next_step = "choose another name, or remove that export first",
             .holders = {
                 {.id = each->id(), .type = "export", .since = each->backend().holder()->since}}}));
  }
  if (!request.bitmap_refusal.empty()) return GenericError(request.bitmap_refusal);
  return absl::OkStatus();
}

// QEMU asks for more only when the server has agreed: that nobody resizes the node.
absl::Status CheckPermissions(NbdPart& part, const ExportRequest& request, bool shares_all)
    MILLRACE_OPENS_VIEW {
  AttachmentOptions options = ExportAttachment(part.layer().graph(), request.options.is_writable);
  if (shares_all) options.permissions.shared = kAllPermissions;
  GraphTransaction change(part.layer().graph());
  const Attachment backend = change.Attach(request.node, std::move(options));
  return change.Rehearse();
}

}  // namespace

// Who is in the way of the node is told before what the server says, as in QEMU.
absl::Status RehearseExport(NbdPart& part, const ExportRequest& request) {
  if (part.Find(request.options.id) != nullptr) return IdIsTaken(request.options.id);
  MILLRACE_RETURN_IF_ERROR(CheckPermissions(part, request, /*shares_all=*/true));
  MILLRACE_RETURN_IF_ERROR(CheckExport(part, request));
  return CheckPermissions(part, request, /*shares_all=*/false);
}

PlanResult PlanExport(NbdPart& part, const ExportRequest& request, std::string step) {
  MILLRACE_RETURN_IF_ERROR(RehearseExport(part, request));
  Graph& graph = part.layer().graph();
  GraphTransaction change(graph);
  const Attachment backend =
      change.Attach(request.node, ExportAttachment(graph, request.options.is_writable));
  return PlanOfEdit(change, PlanOfStep(std::move(step)));
}

absl::Status AddExport(NbdPart& part, ExportRequest request) {
  MILLRACE_RETURN_IF_ERROR(RehearseExport(part, request));
  return part.AddExport(request.node, std::move(request.options), request.drive);
}

void RegisterExportCommands(NbdPart& part) {
  CommandTable& commands = part.host().commands;
  commands.Register(
      {.name = "block-export-add",
       .handler = [&part](const json::object& arguments) MILLRACE_MAY_SUSPEND -> CommandResult {
         ArgumentReader reader(arguments);
         MILLRACE_RETURN_IF_ERROR(ExportAdd(part, reader));
         return json::object();
       }});
  commands.Register({.name = "block-export-del",
                     .arguments = {{{"id"}, {"mode", ArgumentType::kEnum, true, {"safe", "hard"}}}},
                     .handler = [&part](const json::object& arguments)
                                    MILLRACE_MAY_SUSPEND { return CoExportDel(part, arguments); }});
  commands.Register({.name = "query-block-exports",
                     .arguments = {{}},
                     .handler = [&part](const json::object&)
                                    MILLRACE_MAY_SUSPEND { return QueryExports(part); }});
  commands.SetPlanner("block-export-add", [&part](const json::object& given) MILLRACE_OPENS_VIEW {
    return PlanExportAdd(part, given);
  });
  commands.SetPlanner("block-export-del", [&part](const json::object& given) MILLRACE_OPENS_VIEW {
    return PlanExportDel(part, given);
  });
  part.host().options.Register(
      "export", [&part](std::string_view text) MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(const OptionValue value, ParseKeyval(text, "type"));
        ArgumentReader reader = value.Reader();
        return ExportAdd(part, reader);
      });
}

}  // namespace millrace
