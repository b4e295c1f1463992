#include "examples/hypervisor/process/fd_commands.h"

#include <unistd.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "examples/hypervisor/qmp/argument_reader.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

CommandResult GetFd(FdSets& sets, const json::object& arguments) {
  const std::string name = ArgumentReader(arguments).String("fdname");
  MILLRACE_ASSIGN_OR_RETURN(const int fd, sets.TakeOffered());
  if (!name.empty() && absl::ascii_isdigit(static_cast<unsigned char>(name[0]))) {
    close(fd);
    return GenericError("Parameter 'fdname' expects a name not starting with a digit");
  }
  sets.SetNamed(name, PassedDescriptor(fd));
  return json::object();
}

CommandResult AddFd(FdSets& sets, const json::object& arguments) {
  ArgumentReader reader(arguments);
  const std::optional<int64_t> set = reader.OptionalInteger("fdset-id");
  std::string opaque = reader.OptionalString("opaque").value_or("");
  MILLRACE_ASSIGN_OR_RETURN(const int fd, sets.TakeOffered());
  if (set.has_value() && *set < 0) {
    close(fd);
    return GenericError("Parameter 'fdset-id' expects a non-negative value");
  }
  const int64_t number = sets.Add(fd, set, std::move(opaque));
  return json::object({{"fdset-id", number}, {"fd", fd}});
}

CommandResult RemoveFd(FdSets& sets, const json::object& arguments) {
  ArgumentReader reader(arguments);
  const int64_t set = reader.Integer("fdset-id");
  MILLRACE_RETURN_IF_ERROR(sets.Remove(set, reader.OptionalInteger("fd")));
  return json::object();
}

// The highest number first, as in QEMU.
CommandResult QueryFdSets(const FdSets& sets) {
  json::array shown;
  const auto described = sets.Describe();
  for (auto set = described.rbegin(); set != described.rend(); ++set) {
    json::array fds;
    for (const FdSets::Described& member : set->second) {
      json::object one = {{"fd", member.fd}};
      if (member.opaque) one["opaque"] = *member.opaque;
      fds.push_back(std::move(one));
    }
    shown.push_back({{"fds", std::move(fds)}, {"fdset-id", set->first}});
  }
  return shown;
}

}  // namespace

void RegisterFdCommands(CommandTable& commands, FdSets& sets) {
  commands.Register(
      {.name = "getfd",
       .arguments = {{{"fdname"}}},
       .handler = [&sets](const json::object& arguments) { return GetFd(sets, arguments); }});
  commands.Register({.name = "closefd",
                     .arguments = {{{"fdname"}}},
                     .handler = [&sets](const json::object& arguments) -> CommandResult {
                       MILLRACE_RETURN_IF_ERROR(
                           sets.CloseNamed(ArgumentReader(arguments).String("fdname")));
                       return json::object();
                     }});
  commands.Register(
      {.name = "add-fd",
       .arguments = {{{"fdset-id", ArgumentType::kInteger, true},
                      {"opaque", ArgumentType::kString, true}}},
       .handler = [&sets](const json::object& arguments) { return AddFd(sets, arguments); }});
  commands.Register(
      {.name = "remove-fd",
       .arguments = {{{"fdset-id", ArgumentType::kInteger}, {"fd", ArgumentType::kInteger, true}}},
       .handler = [&sets](const json::object& arguments) { return RemoveFd(sets, arguments); }});
  commands.Register({.name = "query-fdsets",
                     .arguments = {{}},
                     .handler = [&sets](const json::object&) { return QueryFdSets(sets); }});
  for (const char* name : {"getfd", "closefd", "add-fd", "remove-fd"}) {
    commands.SetUnplanned(
        name, "it is about a descriptor that comes with it, or of the host; no node changes");
  }
}

}  // namespace millrace
