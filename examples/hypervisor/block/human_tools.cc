#include "examples/hypervisor/block/human_tools.h"

#include <optional>
#include <utility>

#include "examples/hypervisor/qmp/command_table.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
std::string TerminalLines(std::string_view text) {
  std::string lines;
  for (const char c : text) {
    if (c == '\n') lines += '\r';
    lines += c;
  }
  return lines;
}

std::string HumanRefusal(BlockLayer& layer, const absl::Status& status) {
  if (const std::optional<std::string> help = HelpOf(status)) return TerminalLines(*help);
  const QmpErrorReply reply = RenderError(status, layer.host().renderer);
  std::string text = StrCat(reply.desc, "\n");
  if (!reply.hint.empty()) StrAppend(&text, reply.hint, "\n");
  return TerminalLines(text);
}

std::string HumanResult(BlockLayer& layer, const absl::Status& status) {
  if (status.ok()) return {};
  return StrCat(HelpOf(status) ? "" : "Error: ", HumanRefusal(layer, status));
}

PlanResult AsPlanOfLine(BlockLayer& layer, PlanResult plan,
                        std::string (*tell)(BlockLayer& layer, const absl::Status& status)) {
  if (plan.ok()) return plan;
  if (HelpOf(plan.status())) return PlanOfStep("answer; nothing changes");
  return RefusedLine(tell(layer, plan.status()), plan.status());
}

std::string CoCallForHuman(BlockLayer& layer, std::string_view command,
                           const json::object& arguments) {
  return HumanResult(layer, layer.host().commands.CoCall(command, arguments).status());
}

namespace {

absl::StatusOr<CommandPlan> PlanOfCommand(BlockLayer& layer, std::string_view command,
                                          const json::object& given) {
  const CommandTable& commands = layer.host().commands;
  const CommandSpec* const spec = commands.Find(command);
  if (spec == nullptr) {
    return CommandNotFound(StrCat("The command ", command, " has not been found"));
  }
  MILLRACE_RETURN_IF_ERROR(CommandTable::CheckArguments(*spec, given));
  if (const CommandPlanner* const planner = commands.FindPlanner(command)) return (*planner)(given);
  CommandPlan plan;
  plan.why_not = std::string(commands.WhyUnplanned(command));
  return plan;
}

void Append(CommandPlan next, CommandPlan* plan) {
  for (std::string& step : next.steps) plan->steps.push_back(std::move(step));
  next.steps = std::move(plan->steps);
  for (std::string& fact : next.unknown) plan->unknown.push_back(std::move(fact));
  next.unknown = std::move(plan->unknown);
  if (next.graph.is_null()) next.graph = std::move(plan->graph);
  *plan = std::move(next);
}

// Calls the handler with the commands that it calls being planned.
PlanResult PlanCalls(BlockLayer& layer, json::object arguments, const HumanCaller& handler) {
  CommandPlan plan;
  absl::Status refusal;
  std::vector<std::string> unknown;
  const HumanCall call(
      [&](std::string_view command, const json::object& given) {
        PlanResult next = PlanOfCommand(layer, command, given);
        refusal = next.status();
        if (next.ok()) Append(*std::move(next), &plan);
        return HumanResult(layer, refusal);
      },
      &unknown);
  const std::string told = handler(std::move(arguments), call);
  for (std::string& fact : unknown) plan.unknown.push_back(std::move(fact));
  if (!told.empty()) return RefusedLine(told, refusal);
  return plan;
}

}  // namespace

void RegisterHuman(BlockLayer& layer, std::string_view name, HmpSyntax syntax, HumanHandler handler,
                   HumanPlanner planner) {
  layer.host().hmp.SetPlanner(
      name, [syntax, planner = std::move(planner)](std::string_view line) -> PlanResult {
        absl::StatusOr<json::object> arguments = ReadHmpArguments(syntax, line);
        if (!arguments.ok()) return RefusedLine(FromAbsl(arguments.status().message()));
        return planner(*std::move(arguments));
      });
  layer.host().hmp.Register(
      name,
      [syntax = std::move(syntax), handler = std::move(handler)](std::string_view line)
          MILLRACE_MAY_SUSPEND -> std::string {
            absl::StatusOr<json::object> arguments = ReadHmpArguments(syntax, line);
            if (!arguments.ok()) return std::string(arguments.status().message());
            return handler(*std::move(arguments));
          });
}

void RegisterHumanCaller(BlockLayer& layer, std::string_view name, HmpSyntax syntax,
                         HumanCaller handler) {
  const HumanCall call([&layer](std::string_view command, const json::object& given)
                           MILLRACE_MAY_SUSPEND { return CoCallForHuman(layer, command, given); },
                       nullptr);
  RegisterHuman(
      layer, name, std::move(syntax),
      [call, handler](json::object arguments)
          MILLRACE_MAY_SUSPEND { return handler(std::move(arguments), call); },
      [&layer, handler](json::object arguments) {
        return PlanCalls(layer, std::move(arguments), handler);
      });
}

}  // namespace millrace
