// CommandTable: the QMP commands there are, what they take, and how they are called.
//
//   table.Register({.name = "job-pause",
//                   .arguments = {{"id", ArgumentType::kString}},
//                   .handler = [&](const json::object& arguments) MILLRACE_MAY_SUSPEND {
//                     return CoPauseJob(arguments);
//                   }});
//
// Declared arguments are checked before the handler is called (missing, of the wrong type, not
// among the values, unexpected) and listed by query-qmp-schema; a handler reads them with an
// ArgumentReader that can then only succeed. A command that declares nothing is given its arguments
// as they are and checks them itself.
//
// Filled before the first monitor is served; afterwards read-only. Home thread only.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_COMMAND_TABLE_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_COMMAND_TABLE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/hypervisor/qmp/command_plan.h"
#include "examples/hypervisor/qmp/json.h"
#include "examples/hypervisor/qmp/json_format.h"
#include "examples/hypervisor/qmp/text_rope.h"
#include "millrace/engine/base/capabilities.h"

namespace millrace {

enum class ArgumentType : uint8_t {
  kString,
  kInteger,
  kSize,    // a uint64_t
  kUint32,  // an integer of that range
  kBool,
  kEnum,  // one of `values`
  kObject,
  kArray,
  kAny,
};

struct ArgumentSpec {
  std::string name;
  ArgumentType type = ArgumentType::kString;
  bool is_optional = false;
  std::vector<std::string_view> values;  // kEnum; literals
  // In the schema, where that is more than `type` tells: a type that AddTypes() has described.
  std::string_view schema_type = {};
};

// What a handler returns: the value of "return"; json::object() for commands that return nothing.
using CommandResult = absl::StatusOr<json::value>;
// The same as text on one line, for an answer that is too large to be built as values; see
// CommandSpec.
using CommandText = absl::StatusOr<TextRope>;
// Runs in a coroutine of the engine, one at a time over all monitors. May suspend.
using CommandHandler = std::function<CommandResult(const json::object& arguments)>;

struct CommandSpec {
  std::string name;
  // In the order in which mistakes are looked for. Nothing: the handler checks.
  std::optional<std::vector<ArgumentSpec>> arguments;
  CommandHandler handler;
  // For an answer that may be very large: writes what FormatJson makes of the handler's. Null: the
  // handler is called.
  std::function<CommandText(const json::object& arguments)> text_handler;
  // Events that are emitted while the handler runs come after the reply: quit, block-job-cancel.
  bool replies_first = false;
  // Of a command that checks its arguments itself: their type in the schema (AddTypes).
  std::string_view schema_type = {};
};

// {"name": .., "meta-type": "enum", ..}: an enumeration as query-qmp-schema tells it.
json::object DescribeEnum(std::string_view name, const std::vector<std::string_view>& values);

class CommandTable {
 public:
  // A name can be registered once (checked).
  void Register(CommandSpec spec);

  // Descriptions of types, for the schema.
  void AddTypes(json::array types);

  // How a command is planned; once for each name (checked). Whoever registers a command knows.
  void SetPlanner(std::string name, CommandPlanner planner);
  // Null if there is none.
  const CommandPlanner* FindPlanner(std::string_view name) const;
  // Why a command has no planner and needs none, for who asks for a plan: "it ends the program".
  void SetUnplanned(std::string name, std::string why);
  // Empty if nobody has said so.
  std::string_view WhyUnplanned(std::string_view name) const;

  // Who hears of every call as it begins and as it ends; null: nobody.
  using Watcher = std::function<void(std::string_view command, bool is_beginning)>;
  void Watch(Watcher watcher) { watcher_ = std::move(watcher); }

  // Null if there is none. Stays valid for the table's life.
  const CommandSpec* Find(std::string_view name) const;
  // Finds, checks the declared arguments and calls the handler. "The command foo has not been
  // found".
  CommandResult CoCall(std::string_view name, const json::object& arguments) const
      MILLRACE_MAY_SUSPEND;
  // The same; the value of "return" as text in a client's layout, inside the reply.
  CommandText CoCallForText(std::string_view name, const json::object& arguments,
                            JsonLayout layout) const MILLRACE_MAY_SUSPEND;
  // What CoCall() checks before it calls.
  static absl::Status CheckArguments(const CommandSpec& spec, const json::object& arguments);

  // [{"name": ..}], by name.
  json::array DescribeNames() const;
  // The value of query-qmp-schema for what is declared.
  json::array DescribeSchema() const;

 private:
  // NotFound, or what is wrong with the arguments.
  absl::StatusOr<const CommandSpec*> Check(std::string_view name,
                                           const json::object& arguments) const;
  CommandResult CoCallHandler(const CommandSpec& spec, const json::object& arguments) const
      MILLRACE_MAY_SUSPEND;

  std::map<std::string, CommandSpec, std::less<>> commands_;
  std::map<std::string, CommandPlanner, std::less<>> planners_;
  std::map<std::string, std::string, std::less<>> unplanned_;
  json::array types_;
  Watcher watcher_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_COMMAND_TABLE_H_
