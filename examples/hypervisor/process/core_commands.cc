#include "examples/hypervisor/process/core_commands.h"

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "examples/hypervisor/qmp/argument_reader.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/version.h"

namespace millrace {
namespace {

CommandResult Nothing() { return json::value(json::object()); }

void RegisterCoreQueries(CommandTable& commands) {
  commands.Register({.name = "query-version",
                     .arguments = {{}},
                     .handler = [](const json::object&) -> CommandResult {
                       return json::value(DescribeVersion());
                     }});
  commands.Register({.name = "query-commands",
                     .arguments = {{}},
                     .handler = [&commands](const json::object&) -> CommandResult {
                       return json::value(commands.DescribeNames());
                     }});
  commands.Register({.name = "query-qmp-schema",
                     .arguments = {{}},
                     .handler = [&commands](const json::object&) -> CommandResult {
                       return json::value(commands.DescribeSchema());
                     }});
}

void RegisterObjectCommands(CommandTable& commands, ObjectRegistry& objects) {
  commands.Register({.name = "object-add",
                     .handler = [&objects](const json::object& arguments) -> CommandResult {
                       MILLRACE_RETURN_IF_ERROR(objects.Add(arguments, ScalarStyle::kTyped));
                       return Nothing();
                     },
                     .schema_type = "ObjectOptions"});
  commands.Register({.name = "object-del",
                     .arguments = {{{"id", ArgumentType::kString}}},
                     .handler = [&objects](const json::object& arguments) -> CommandResult {
                       MILLRACE_RETURN_IF_ERROR(
                           objects.Delete(ArgumentReader(arguments).String("id")));
                       return Nothing();
                     }});
}

void SetObjectPlanners(CommandTable& commands, const ObjectRegistry& objects) {
  commands.SetPlanner("object-add", [&objects](const json::object& arguments) {
    return PlanObjectAdd(objects, arguments, ScalarStyle::kTyped);
  });
  commands.SetPlanner("object-del", [&objects](const json::object& arguments) -> PlanResult {
    const std::string id = ArgumentReader(arguments).String("id");
    MILLRACE_RETURN_IF_ERROR(objects.CheckDelete(id));
    return PlanOfStep(StrCat("delete '", id, "'"));
  });
}

// What a client hears that negotiates twice; the first time, the monitor itself answers.
absl::Status AlreadyNegotiated() {
  return CommandNotFound("Capabilities negotiation is already complete, command ignored");
}

void RegisterSession(CommandTable& commands, std::function<void()> quit) {
  commands.Register(
      {.name = "qmp_capabilities",
       .arguments = {{{"enable", ArgumentType::kArray, true}}},
       .handler = [](const json::object&) -> CommandResult { return AlreadyNegotiated(); }});
  commands.Register({.name = "quit",
                     .arguments = {{}},
                     .handler = [quit = std::move(quit)](const json::object&) -> CommandResult {
                       quit();
                       return Nothing();
                     },
                     .replies_first = true});
  // Who asks for a plan has negotiated.
  commands.SetPlanner("qmp_capabilities",
                      [](const json::object&) -> PlanResult { return AlreadyNegotiated(); });
}

void RegisterHumanMonitor(CommandTable& commands, const HmpTable& hmp) {
  commands.Register(
      {.name = "human-monitor-command",
       .arguments = {{{"command-line", ArgumentType::kString},
                      {"cpu-index", ArgumentType::kInteger, true}}},
       .handler = [&hmp](const json::object& arguments) MILLRACE_MAY_SUSPEND -> CommandResult {
         const std::string line = ArgumentReader(arguments).String("command-line");
         return json::value(hmp.CoRun(line));
       }});
  commands.SetPlanner("human-monitor-command", [&hmp](const json::object& arguments) {
    return hmp.Plan(ArgumentReader(arguments).String("command-line"));
  });
}

class Iothread final : public UserObject {};

}  // namespace

json::object DescribeVersion() {
  // The interface is that of QEMU 7.2; who speaks it is said beside.
  json::object qemu = {{"major", 7}, {"minor", 2}, {"micro", 0}};
  return {{"qemu", std::move(qemu)}, {"package", StrCat("Millrace ", MILLRACE_VERSION_STRING)}};
}

PlanResult PlanObjectAdd(const ObjectRegistry& objects, const json::object& options,
                         ScalarStyle style) {
  MILLRACE_RETURN_IF_ERROR(objects.CheckAdd(options, style));
  ArgumentReader reader(options, style);
  const std::string type = reader.String("qom-type");
  return PlanOfStep(StrCat("make '", reader.String("id"), "', a ", type));
}

void RegisterCoreCommands(HypervisorHost& host, std::function<void()> quit) {
  RegisterSession(host.commands, std::move(quit));
  RegisterCoreQueries(host.commands);
  RegisterObjectCommands(host.commands, host.objects);
  SetObjectPlanners(host.commands, host.objects);
  RegisterHumanMonitor(host.commands, host.hmp);
}

void RegisterIothreadType(ObjectRegistry& objects) {
  objects.RegisterType(
      "iothread",
      [](std::string_view,
         ArgumentReader& properties) -> absl::StatusOr<std::unique_ptr<UserObject>> {
        for (const std::string_view name : {"aio-max-batch", "thread-pool-min", "thread-pool-max",
                                            "poll-max-ns", "poll-grow", "poll-shrink"}) {
          const std::optional<int64_t> value = properties.OptionalInteger(name);
          if (value.value_or(0) < 0) {
            properties.Fail(GenericError(StrCat(name, " value must be in range [0, ",
                                                std::numeric_limits<int64_t>::max(), "]")));
          }
        }
        return std::make_unique<Iothread>();
      });
}

}  // namespace millrace
