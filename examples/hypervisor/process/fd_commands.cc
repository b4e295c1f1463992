#include "examples/hypervisor/process/fd_commands.h"

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

absl::StatusOr<std::string> ReadGetFd(const FdSets& sets, const json::object& arguments) {
  const std::string name = ArgumentReader(arguments).String("fdname");
  MILLRACE_RETURN_IF_ERROR(sets.CheckOffered());
  if (!name.empty() && absl::ascii_isdigit(static_cast<unsigned char>(name[0]))) {
    return GenericError("Parameter 'fdname' expects a name not starting with a digit");
  }
  return name;
}

CommandResult GetFd(FdSets& sets, const json::object& arguments) {
  const absl::StatusOr<std::string> name = ReadGetFd(sets, arguments);
  // As in QEMU, a request that is refused for something else has used it up.
  MILLRACE_ASSIGN_OR_RETURN(const int fd, sets.TakeOffered());
  PassedDescriptor passed(fd);
  MILLRACE_RETURN_IF_ERROR(name.status());
  sets.SetNamed(*name, std::move(passed));
  return json::object();
}

PlanResult PlanGetFd(const FdSets& sets, const json::object& arguments) {
  MILLRACE_ASSIGN_OR_RETURN(const std::string name, ReadGetFd(sets, arguments));
  return PlanOfStep(StrCat("call the descriptor '", name, "'"));
}

PlanResult PlanCloseFd(const FdSets& sets, const json::object& arguments) {
  const std::string name = ArgumentReader(arguments).String("fdname");
  MILLRACE_RETURN_IF_ERROR(sets.CheckCloseNamed(name));
  return PlanOfStep(StrCat("close the descriptor '", name, "'"));
}

// The set's number, if it is given.
absl::StatusOr<std::optional<int64_t>> ReadAddFd(const FdSets& sets, ArgumentReader& reader) {
  const std::optional<int64_t> set = reader.OptionalInteger("fdset-id");
  MILLRACE_RETURN_IF_ERROR(sets.CheckOffered());
  if (set.has_value() && *set < 0) {
    return GenericError("Parameter 'fdset-id' expects a non-negative value");
  }
  return set;
}

CommandResult AddFd(FdSets& sets, const json::object& arguments) {
  ArgumentReader reader(arguments);
  const absl::StatusOr<std::optional<int64_t>> set = ReadAddFd(sets, reader);
  MILLRACE_ASSIGN_OR_RETURN(const int fd, sets.TakeOffered());
  PassedDescriptor passed(fd);
  MILLRACE_RETURN_IF_ERROR(set.status());
  const int64_t number =
      sets.Add(passed.Take(), *set, reader.OptionalString("opaque").value_or(""));
  return json::object({{"fdset-id", number}, {"fd", fd}});
}

PlanResult PlanAddFd(const FdSets& sets, const json::object& arguments) {
  ArgumentReader reader(arguments);
  MILLRACE_ASSIGN_OR_RETURN(const std::optional<int64_t> set, ReadAddFd(sets, reader));
  return PlanOfStep(StrCat("put the descriptor into set ", sets.NumberFor(set)));
}

CommandResult RemoveFd(FdSets& sets, const json::object& arguments) {
  ArgumentReader reader(arguments);
  const int64_t set = reader.Integer("fdset-id");
  MILLRACE_RETURN_IF_ERROR(sets.Remove(set, reader.OptionalInteger("fd")));
  return json::object();
}

PlanResult PlanRemoveFd(const FdSets& sets, const json::object& arguments) {
  ArgumentReader reader(arguments);
  const int64_t set = reader.Integer("fdset-id");
  const std::optional<int64_t> fd = reader.OptionalInteger("fd");
  MILLRACE_RETURN_IF_ERROR(sets.CheckRemove(set, fd));
  return PlanOfStep(fd.has_value() ? StrCat("close descriptor ", *fd, " of set ", set)
                                   : StrCat("close set ", set));
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
  commands.SetPlanner("getfd",
                      [&sets](const json::object& given) { return PlanGetFd(sets, given); });
  commands.SetPlanner("closefd",
                      [&sets](const json::object& given) { return PlanCloseFd(sets, given); });
  commands.SetPlanner("add-fd",
                      [&sets](const json::object& given) { return PlanAddFd(sets, given); });
  commands.SetPlanner("remove-fd",
                      [&sets](const json::object& given) { return PlanRemoveFd(sets, given); });
}

}  // namespace millrace
