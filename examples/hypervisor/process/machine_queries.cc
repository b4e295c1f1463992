#include "examples/hypervisor/process/machine_queries.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "examples/hypervisor/options/keyval.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

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

bool IsUuid(std::string_view text) {
  constexpr std::string_view kShape = "00000000-0000-0000-0000-000000000000";
  if (text.size() != kShape.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (kShape[i] == '-' ? text[i] != '-' : !std::isxdigit(static_cast<unsigned char>(text[i]))) {
      return false;
    }
  }
  return true;
}

}  // namespace

absl::Status MachineIdentity::SetName(std::string_view text) {
  MILLRACE_ASSIGN_OR_RETURN(const OptionValue value, ParseLegacyOptions(text, "guest"));
  constexpr std::array<std::string_view, 3> kKnown = {"guest", "process", "debug-threads"};
  for (const auto& member : value.object) {
    const std::string_view name = View(member.key());
    if (std::find(kKnown.begin(), kKnown.end(), name) == kKnown.end()) {
      return GenericError(StrCat("Invalid parameter '", name, "'"));
    }
  }
  ArgumentReader reader = value.Reader();
  name_ = reader.OptionalString("guest").value_or(name_);
  reader.OptionalString("process");
  reader.OptionalBool("debug-threads");
  return reader.Finish();
}

absl::Status MachineIdentity::SetUuid(std::string_view text) {
  if (!IsUuid(text)) return GenericError("failed to parse UUID string: wrong format");
  uuid_.clear();
  for (const char c : text) {
    uuid_ += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return absl::OkStatus();
}

void RegisterMachineQueries(CommandTable& commands, const ChardevTable& chardevs,
                            const MachineIdentity& identity) {
  commands.Register({.name = "query-name",
                     .arguments = {{}},
                     .handler = [&identity](const json::object&) -> CommandResult {
                       if (identity.name().empty()) return json::object();
                       return json::object({{"name", identity.name()}});
                     }});
  commands.Register({.name = "query-uuid",
                     .arguments = {{}},
                     .handler = [&identity](const json::object&) -> CommandResult {
                       return json::object({{"UUID", identity.uuid()}});
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
