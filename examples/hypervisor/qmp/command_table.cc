#include "examples/hypervisor/qmp/command_table.h"

#include <utility>

#include "examples/hypervisor/qmp/argument_reader.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

void CheckArgument(const ArgumentSpec& spec, ArgumentReader& reader) {
  if (!spec.is_optional && !reader.Has(spec.name)) {
    reader.Fail(GenericError(StrCat("Parameter '", spec.name, "' is missing")));
    return;
  }
  switch (spec.type) {
    case ArgumentType::kString:
      reader.OptionalString(spec.name);
      return;
    case ArgumentType::kInteger:
      reader.OptionalInteger(spec.name);
      return;
    case ArgumentType::kSize:
      reader.OptionalSize(spec.name);
      return;
    case ArgumentType::kUint32:
      reader.OptionalUint32(spec.name);
      return;
    case ArgumentType::kBool:
      reader.OptionalBool(spec.name);
      return;
    case ArgumentType::kEnum:
      reader.OptionalEnum(spec.name, spec.values);
      return;
    case ArgumentType::kObject:
      reader.OptionalObject(spec.name);
      return;
    case ArgumentType::kArray:
      reader.OptionalArray(spec.name);
      return;
    case ArgumentType::kAny:
      reader.OptionalAny(spec.name);
      return;
  }
}

// The name of a type in the schema; scalar types stand for themselves, as in QEMU.
std::string SchemaTypeName(const CommandSpec& command, const ArgumentSpec& argument) {
  if (!argument.schema_type.empty()) return std::string(argument.schema_type);
  switch (argument.type) {
    case ArgumentType::kString:
      return "str";
    case ArgumentType::kInteger:
    case ArgumentType::kSize:
    case ArgumentType::kUint32:
      return "int";
    case ArgumentType::kBool:
      return "bool";
    case ArgumentType::kEnum:
      return StrCat("enum-", command.name, "-", argument.name);
    case ArgumentType::kArray:
      return "[any]";
    case ArgumentType::kObject:
    case ArgumentType::kAny:
      break;
  }
  return "any";
}

json::object DescribeArguments(const CommandSpec& command, const std::string& name) {
  json::array members;
  for (const ArgumentSpec& argument : *command.arguments) {
    json::object member;
    member["name"] = argument.name;
    member["type"] = SchemaTypeName(command, argument);
    // A member with a default, of whatever value, is an optional one.
    if (argument.is_optional) member["default"] = nullptr;
    members.push_back(std::move(member));
  }
  return {{"name", name}, {"meta-type", "object"}, {"members", std::move(members)}};
}

json::object DescribeBuiltin(std::string_view name, std::string_view json_type) {
  json::object type;
  type["name"] = json::string_view(name.data(), name.size());
  type["meta-type"] = "builtin";
  type["json-type"] = json::string_view(json_type.data(), json_type.size());
  return type;
}

std::string ArgumentTypeName(const CommandSpec& command) {
  if (command.arguments.has_value()) return StrCat("arg-", command.name);
  return command.schema_type.empty() ? "any" : std::string(command.schema_type);
}

}  // namespace

json::object DescribeEnum(std::string_view name, const std::vector<std::string_view>& values) {
  json::array names;
  json::array members;
  for (const std::string_view value : values) {
    const json::string_view text(value.data(), value.size());
    names.emplace_back(text);
    members.push_back(json::object({{"name", text}}));
  }
  json::object type;
  type["name"] = json::string_view(name.data(), name.size());
  type["meta-type"] = "enum";
  type["members"] = std::move(members);
  type["values"] = std::move(names);
  return type;
}

void CommandTable::AddTypes(json::array types) {
  for (json::value& type : types) types_.push_back(std::move(type));
}

void CommandTable::Register(CommandSpec spec) {
  MILLRACE_CHECK(spec.handler != nullptr, "a command has a handler");
  std::string name = spec.name;
  const bool is_new = commands_.emplace(std::move(name), std::move(spec)).second;
  MILLRACE_CHECK(is_new, "a command is registered once");
}

void CommandTable::SetPlanner(std::string name, CommandPlanner planner) {
  const bool is_new = planners_.emplace(std::move(name), std::move(planner)).second;
  MILLRACE_CHECK(is_new, "a command has one planner");
}

const CommandPlanner* CommandTable::FindPlanner(std::string_view name) const {
  const auto found = planners_.find(name);
  return found == planners_.end() ? nullptr : &found->second;
}

void CommandTable::SetUnplanned(std::string name, std::string why) {
  unplanned_.insert_or_assign(std::move(name), std::move(why));
}

std::string_view CommandTable::WhyUnplanned(std::string_view name) const {
  const auto found = unplanned_.find(name);
  return found == unplanned_.end() ? std::string_view() : std::string_view(found->second);
}

const CommandSpec* CommandTable::Find(std::string_view name) const {
  const auto found = commands_.find(name);
  return found == commands_.end() ? nullptr : &found->second;
}

absl::Status CommandTable::CheckArguments(const CommandSpec& spec, const json::object& arguments) {
  if (!spec.arguments.has_value()) return absl::OkStatus();
  ArgumentReader reader(arguments);
  for (const ArgumentSpec& argument : *spec.arguments) CheckArgument(argument, reader);
  return reader.Finish();
}

absl::StatusOr<const CommandSpec*> CommandTable::Check(std::string_view name,
                                                       const json::object& arguments) const {
  const CommandSpec* const spec = Find(name);
  if (spec == nullptr) {
    return CommandNotFound(StrCat("The command ", name, " has not been found"));
  }
  MILLRACE_RETURN_IF_ERROR(CheckArguments(*spec, arguments));
  return spec;
}

CommandResult CommandTable::CoCall(std::string_view name, const json::object& arguments) const {
  MILLRACE_ASSIGN_OR_RETURN(const CommandSpec* const spec, Check(name, arguments));
  return CoCallHandler(*spec, arguments);
}

CommandResult CommandTable::CoCallHandler(const CommandSpec& spec,
                                          const json::object& arguments) const {
  if (watcher_) watcher_(spec.name, /*is_beginning=*/true);
  CommandResult result = spec.handler(arguments);
  if (watcher_) watcher_(spec.name, /*is_beginning=*/false);
  return result;
}

CommandText CommandTable::CoCallForText(std::string_view name, const json::object& arguments,
                                        JsonLayout layout) const {
  MILLRACE_ASSIGN_OR_RETURN(const CommandSpec* const spec, Check(name, arguments));
  if (spec->text_handler == nullptr || layout != JsonLayout::kLine) {
    MILLRACE_ASSIGN_OR_RETURN(const json::value result, CoCallHandler(*spec, arguments));
    return TextRope(FormatJson(result, layout, 1));
  }
  if (watcher_) watcher_(name, /*is_beginning=*/true);
  CommandText text = spec->text_handler(arguments);
  if (watcher_) watcher_(name, /*is_beginning=*/false);
  return text;
}

json::array CommandTable::DescribeNames() const {
  json::array names;
  for (const auto& entry : commands_) names.push_back(json::object({{"name", entry.first}}));
  return names;
}

json::array CommandTable::DescribeSchema() const {
  json::array schema;
  for (const auto& entry : commands_) {
    const CommandSpec& command = entry.second;
    const std::string arguments = ArgumentTypeName(command);
    json::object description;
    description["name"] = command.name;
    description["meta-type"] = "command";
    description["arg-type"] = arguments;
    description["ret-type"] = "any";
    schema.push_back(std::move(description));
    if (!command.arguments.has_value()) continue;
    schema.push_back(DescribeArguments(command, arguments));
    for (const ArgumentSpec& argument : *command.arguments) {
      if (argument.type != ArgumentType::kEnum) continue;
      schema.push_back(DescribeEnum(SchemaTypeName(command, argument), argument.values));
    }
  }
  for (const json::value& type : types_) schema.push_back(type);
  schema.push_back(DescribeBuiltin("str", "string"));
  schema.push_back(DescribeBuiltin("int", "int"));
  schema.push_back(DescribeBuiltin("bool", "boolean"));
  schema.push_back(DescribeBuiltin("null", "null"));
  schema.push_back(DescribeBuiltin("any", "value"));
  for (const char* element : {"any", "str"}) {
    schema.push_back(
        {{"name", StrCat("[", element, "]")}, {"meta-type", "array"}, {"element-type", element}});
  }
  return schema;
}

}  // namespace millrace
