#include "examples/hypervisor/introspect/introspection.h"

#include <fstream>
#include <utility>

#include "examples/hypervisor/introspect/explain.h"
#include "examples/hypervisor/introspect/schema_types.h"
#include "examples/hypervisor/qmp/argument_reader.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kTraceActions[] = {"start", "stop"};
constexpr uint64_t kInlineTraceBytes = 4 << 20;
constexpr uint64_t kTraceBytesMax = 256 << 20;

json::array Texts(const std::vector<std::string>& texts) {
  json::array array;
  for (const std::string& text : texts) array.push_back(json::string(text));
  return array;
}

bool IsQuery(std::string_view command) {
  for (const char* other : {"qom-get", "qom-list", "x-debug-block-dirty-bitmap-sha256",
                            "x-debug-query-block-graph", "x-millrace-explain"}) {
    if (command == other) return true;
  }
  return command.starts_with("query-");
}

absl::Status CannotBePlanned(std::string_view command, std::string_view why) {
  return GenericError(
      StrCat("The command ", command, " cannot be planned", why.empty() ? "" : ": ", why));
}

}  // namespace

Introspection::Introspection(BlockLayer& layer)
    : layer_(layer), recorder_(layer.host().engine.clock()) {
  SetJobPlanners(layer);
  SetVerbPlanners(layer);
  layer.host().commands.AddTypes(DescribeEvents());
  layer.host().commands.AddTypes(DescribeObjectTypes());
  layer.host().commands.AddTypes(DescribeDeviceTypes());
  RegisterPlan();
  RegisterExplain();
  RegisterTrace();
  layer.host().observer.SetTimeline(&recorder_);
  layer.host().commands.Watch([this](std::string_view command, bool is_beginning) {
    recorder_.OnCommand(command, is_beginning);
  });
}

void Introspection::CoShutdown() { layer_.host().engine.SetTimeline(false); }

Introspection::~Introspection() {
  layer_.host().observer.SetTimeline(nullptr);
  layer_.host().commands.Watch(nullptr);
}

// ---- x-millrace-plan ----------------------------------------------------------------------------

// A query changes nothing: what it would be refused for is found out by asking.
PlanResult Introspection::CoPlanOf(const CommandSpec& spec, const json::object& arguments) {
  MILLRACE_RETURN_IF_ERROR(CommandTable::CheckArguments(spec, arguments));
  if (const CommandPlanner* const planner = layer_.host().commands.FindPlanner(spec.name)) {
    return (*planner)(arguments);
  }
  MILLRACE_RETURN_IF_ERROR(spec.handler(arguments).status());
  return PlanOfStep("answer; nothing changes");
}

CommandResult Introspection::CoPlan(const json::object& given) {
  ArgumentReader reader(given);
  const std::string command = reader.String("command");
  const json::value* const any = reader.OptionalAny("arguments");
  const json::object arguments = any == nullptr ? json::object() : any->as_object();
  const CommandSpec* const spec = layer_.host().commands.Find(command);
  if (spec == nullptr) {
    return CommandNotFound(StrCat("The command ", command, " has not been found"));
  }
  const CommandTable& commands = layer_.host().commands;
  if (commands.FindPlanner(command) == nullptr && !IsQuery(command)) {
    return CannotBePlanned(command, commands.WhyUnplanned(command));
  }
  PlanResult plan = CoPlanOf(*spec, arguments);
  if (!plan.ok()) {
    return json::object{{"accepted", false},
                        {"error", ToJson(RenderError(plan.status(), layer_.host().renderer))}};
  }
  if (!plan->why_not.empty()) return CannotBePlanned(command, plan->why_not);
  json::object told = {{"accepted", true}, {"steps", Texts(plan->steps)}};
  if (!plan->before.empty()) {
    told["before"] = plan->before;
    told["after"] = plan->after;
  }
  if (!plan->claims.empty()) told["claims"] = Texts(plan->claims);
  if (!plan->unknown.empty()) told["unknown"] = Texts(plan->unknown);
  if (!plan->graph.is_null()) told["graph"] = std::move(plan->graph);
  return told;
}

void Introspection::RegisterPlan() {
  layer_.host().commands.Register({.name = "x-millrace-plan",
                                   .arguments = {{{"command", ArgumentType::kString},
                                                  {"arguments", ArgumentType::kObject, true}}},
                                   .handler = [this](const json::object& given)
                                                  MILLRACE_MAY_SUSPEND { return CoPlan(given); }});
  layer_.host().commands.SetUnplanned("x-millrace-plan", "it only asks");
}

// ---- x-millrace-explain -------------------------------------------------------------------------

void Introspection::RegisterExplain() {
  layer_.host().commands.Register(
      {.name = "x-millrace-explain",
       .arguments = {{{"dot", ArgumentType::kBool, true}}},
       .handler = [this](const json::object& given) MILLRACE_MAY_SUSPEND -> CommandResult {
         ArgumentReader reader(given);
         return Explain(layer_, reader.OptionalBool("dot").value_or(false));
       }});
}

// ---- x-millrace-trace ---------------------------------------------------------------------------

CommandResult Introspection::StartTrace(const json::object& given) {
  ArgumentReader reader(given);
  if (recorder_.is_on()) return GenericError("A trace is being recorded: stop it first");
  const std::string filename = reader.OptionalString("filename").value_or("");
  const uint64_t bytes_max =
      reader.OptionalSize("max-bytes").value_or(filename.empty() ? kInlineTraceBytes : 64 << 20);
  const uint64_t limit = filename.empty() ? kInlineTraceBytes : kTraceBytesMax;
  if (bytes_max < 4096 || bytes_max > limit) {
    return GenericError(
        StrCat("Parameter 'max-bytes' expects a value in range [4096, ", limit, "]"));
  }
  if (!filename.empty() && !std::ofstream(filename)) {
    return GenericError(StrCat("Could not open '", filename, "' for writing"));
  }
  trace_filename_ = filename;
  recorder_.Start(bytes_max);
  layer_.host().engine.SetTimeline(true);
  return json::object();
}

CommandResult Introspection::StopTrace() {
  if (!recorder_.is_on()) return GenericError("No trace is being recorded");
  layer_.host().engine.SetTimeline(false);
  const std::string text = recorder_.Stop();
  json::object told = {
      {"events", recorder_.events()}, {"dropped", recorder_.dropped()}, {"bytes", text.size()}};
  if (trace_filename_.empty()) {
    told["trace"] = json::parse(text);
    return told;
  }
  std::ofstream file(trace_filename_, std::ios::binary);
  file << text;
  file.close();
  if (file.fail()) return GenericError(StrCat("Could not write '", trace_filename_, "'"));
  told["filename"] = trace_filename_;
  return told;
}

void Introspection::RegisterTrace() {
  layer_.host().commands.Register(
      {.name = "x-millrace-trace",
       .arguments = {{{"action",
                       ArgumentType::kEnum,
                       false,
                       {std::begin(kTraceActions), std::end(kTraceActions)}},
                      {"filename", ArgumentType::kString, true},
                      {"max-bytes", ArgumentType::kSize, true}}},
       .handler = [this](const json::object& given) MILLRACE_MAY_SUSPEND -> CommandResult {
         ArgumentReader reader(given);
         return reader.Enum("action", kTraceActions) == 0 ? StartTrace(given) : StopTrace();
       }});
  layer_.host().commands.SetUnplanned("x-millrace-trace", "it only looks; no node changes");
}

}  // namespace millrace
