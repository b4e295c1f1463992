// nbd-server-start, nbd-server-stop, nbd-server-add, nbd-server-remove, --nbd-server.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/nbd/export_options.h"
#include "examples/hypervisor/options/keyval.h"
#include "examples/hypervisor/qmp/object_registry.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

absl::StatusOr<NbdServerOptions> ReadServerOptions(NbdPart& part, ArgumentReader& reader,
                                                   bool is_nested) {
  NbdServerOptions options;
  if (std::optional<ArgumentReader> address = reader.OptionalObject("addr")) {
    options.address = ReadSocketAddress(*address, is_nested);
    address->Finish().IgnoreError();  // shared with its parent
  } else {
    reader.Fail(GenericError("Parameter 'addr' is missing"));
  }
  const std::optional<std::string> credentials = reader.OptionalString("tls-creds");
  const std::optional<std::string> authorization = reader.OptionalString("tls-authz");
  const std::optional<uint32_t> connections = reader.OptionalUint32("max-connections");
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  options.connections_max = connections.value_or(options.connections_max);
  if (credentials.has_value()) {
    MILLRACE_ASSIGN_OR_RETURN(options.tls, FindTlsCredentials(part.host().objects, *credentials));
  }
  if (authorization.has_value()) {
    options.authorizer = AuthorizerFor(part.host().objects, *authorization);
  }
  return options;
}

absl::Status StartServer(NbdPart& part, ArgumentReader& reader, bool is_nested) {
  MILLRACE_ASSIGN_OR_RETURN(NbdServerOptions options, ReadServerOptions(part, reader, is_nested));
  SocketAddress& address = options.address;
  // A client knows no numbers of ours: only what it has passed along is its own.
  if (is_nested && address.kind == SocketAddress::Kind::kFd && !part.is_server_running()) {
    MILLRACE_ASSIGN_OR_RETURN(PassedDescriptor fd, part.host().fd_sets.TakeNamed(address.fd));
    address.passed = std::make_shared<PassedDescriptor>(std::move(fd));
  }
  return part.StartServer(std::move(options));
}

// The older command: the name is the id, and writable means "if it can be".
absl::StatusOr<ExportRequest> ReadServerAdd(NbdPart& part, const json::object& arguments)
    MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  const std::string device = reader.String("device");
  const std::optional<std::string> name = reader.OptionalString("name");
  const std::optional<std::string> description = reader.OptionalString("description");
  const bool is_writable = reader.OptionalBool("writable").value_or(false);
  const std::optional<std::string> bitmap = reader.OptionalString("bitmap");
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  MILLRACE_ASSIGN_OR_RETURN(const NodeId node, part.layer().FindDeviceOrNode(device));
  ExportRequest request;
  request.node = node;
  request.drive = part.layer().FindDrive(device);
  request.options.id = request.options.name = name.value_or(device);
  if (!IsIdentifier(request.options.id)) return GenericError("Invalid block export id");
  request.options.description = description.value_or("");
  request.options.is_writable = is_writable && !part.layer().IsReadOnly(node);
  if (bitmap.has_value()) request.bitmap_refusal = StrCat("Bitmap '", *bitmap, "' is not found");
  return request;
}

CommandResult ServerAdd(NbdPart& part, const json::object& arguments) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(ExportRequest request, ReadServerAdd(part, arguments));
  MILLRACE_RETURN_IF_ERROR(AddExport(part, std::move(request)));
  return json::object();
}

CommandResult CoServerRemove(NbdPart& part, const json::object& arguments) MILLRACE_MAY_SUSPEND {
  ArgumentReader reader(arguments);
  const std::string name = reader.String("name");
  const bool is_hard = reader.OptionalString("mode").value_or("safe") == "hard";
  MILLRACE_RETURN_IF_ERROR(part.CoRemoveExport(name, is_hard));
  return json::object();
}

// ---- Plans -------------------------------------------------------------------------------------

PlanResult PlanServerStart(NbdPart& part, const json::object& arguments) {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const NbdServerOptions options, ReadServerOptions(part, reader, true));
  MILLRACE_RETURN_IF_ERROR(part.CheckIsNotRunning());
  if (options.address.kind == SocketAddress::Kind::kUnix) {
    MILLRACE_RETURN_IF_ERROR(CheckPlace(options.address.place));
  }
  CommandPlan plan = PlanOfStep("listen for NBD clients");
  plan.unknown.push_back("whether the host lets it listen at that address");
  return plan;
}

PlanResult PlanServerStop(const NbdPart& part) MILLRACE_OPENS_VIEW {
  MILLRACE_RETURN_IF_ERROR(part.CheckIsRunning());
  CommandPlan plan = PlanOfStep("cut off all NBD clients, and listen no more");
  for (const std::shared_ptr<NbdExport>& each : part.exports()) {
    if (!each->is_ending()) plan.steps.push_back(StrCat("end the export '", each->id(), "'"));
  }
  if (part.exports().empty()) return plan;
  return part.PlanEndOfAll(std::move(plan));
}

PlanResult PlanServerAdd(NbdPart& part, const json::object& arguments) MILLRACE_OPENS_VIEW {
  MILLRACE_ASSIGN_OR_RETURN(const ExportRequest request, ReadServerAdd(part, arguments));
  return PlanExport(part, request, StrCat("export '", request.options.name, "'"));
}

PlanResult PlanServerRemove(const NbdPart& part, const json::object& arguments)
    MILLRACE_OPENS_VIEW {
  ArgumentReader reader(arguments);
  const std::string name = reader.String("name");
  const bool is_hard = reader.OptionalString("mode").value_or("safe") == "hard";
  MILLRACE_RETURN_IF_ERROR(part.CheckRemoveExport(name, is_hard));
  return part.PlanEnd(PlanOfStep(StrCat("end the export '", name, "'")), name);
}

void SetServerPlanners(NbdPart& part) {
  CommandTable& commands = part.host().commands;
  commands.SetPlanner("nbd-server-start",
                      [&part](const json::object& given) { return PlanServerStart(part, given); });
  commands.SetPlanner("nbd-server-stop", [&part](const json::object&)
                                             MILLRACE_OPENS_VIEW { return PlanServerStop(part); });
  commands.SetPlanner("nbd-server-add", [&part](const json::object& given) MILLRACE_OPENS_VIEW {
    return PlanServerAdd(part, given);
  });
  commands.SetPlanner("nbd-server-remove", [&part](const json::object& given) MILLRACE_OPENS_VIEW {
    return PlanServerRemove(part, given);
  });
}

}  // namespace

void RegisterNbdServerCommands(NbdPart& part) {
  CommandTable& commands = part.host().commands;
  commands.Register({.name = "nbd-server-start",
                     .handler = [&part](const json::object& arguments) -> CommandResult {
                       ArgumentReader reader(arguments);
                       MILLRACE_RETURN_IF_ERROR(StartServer(part, reader, true));
                       return json::object();
                     }});
  commands.Register({.name = "nbd-server-stop",
                     .arguments = {{}},
                     .handler = [&part](const json::object&) MILLRACE_MAY_SUSPEND -> CommandResult {
                       MILLRACE_RETURN_IF_ERROR(part.CoStopServer());
                       return json::object();
                     }});
  commands.Register({.name = "nbd-server-add",
                     .handler = [&part](const json::object& arguments)
                                    MILLRACE_MAY_SUSPEND { return ServerAdd(part, arguments); }});
  commands.Register(
      {.name = "nbd-server-remove",
       .arguments = {{{"name"}, {"mode", ArgumentType::kEnum, true, {"safe", "hard"}}}},
       .handler = [&part](const json::object& arguments)
                      MILLRACE_MAY_SUSPEND { return CoServerRemove(part, arguments); }});
  SetServerPlanners(part);
  part.host().options.Register("nbd-server", [&part](std::string_view text) -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const OptionValue value, ParseKeyval(text, ""));
    ArgumentReader reader = value.Reader();
    return StartServer(part, reader, false);
  });
}

}  // namespace millrace
