#include "examples/hypervisor/process/machine_queries.h"

#include <string_view>
#include <utility>

namespace millrace {
namespace {

json::array DescribeChardevs(const ChardevTable& chardevs) {
  json::array shown;
  for (const ChardevTable::Description& chardev : chardevs.Describe()) {
    shown.push_back(
        {{"label", chardev.id}, {"filename", chardev.place}, {"frontend-open", chardev.has_user}});
  }
  return shown;
}

}  // namespace

void RegisterMachineQueries(CommandTable& commands, const ChardevTable& chardevs) {
  // Nobody gave it a name or an identity.
  commands.Register({.name = "query-name",
                     .arguments = {{}},
                     .handler = [](const json::object&) -> CommandResult {
                       return json::value(json::object());
                     }});
  commands.Register({.name = "query-uuid",
                     .arguments = {{}},
                     .handler = [](const json::object&) -> CommandResult {
                       return json::object({{"UUID", "00000000-0000-0000-0000-000000000000"}});
                     }});
  commands.Register({.name = "query-chardev",
                     .arguments = {{}},
                     .handler = [&chardevs](const json::object&) -> CommandResult {
                       return DescribeChardevs(chardevs);
                     }});
  commands.Register({.name = "query-chardev-backends",
                     .arguments = {{}},
                     .handler = [](const json::object&) -> CommandResult {
                       json::array names;
                       for (const char* name : {"socket", "stdio", "null"}) {
                         json::object backend;
                         backend["name"] = name;
                         names.push_back(std::move(backend));
                       }
                       return names;
                     }});
}

}  // namespace millrace
