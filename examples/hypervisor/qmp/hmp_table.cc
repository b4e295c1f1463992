#include "examples/hypervisor/qmp/hmp_table.h"

#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

}  // namespace

void HmpTable::Register(std::string_view name, HmpHandler handler) {
  const bool is_new = commands_.emplace(name, std::move(handler)).second;
  MILLRACE_CHECK(is_new, "a monitor command is registered once");
}

std::string HmpTable::CoRun(std::string_view line) const {
  const std::string_view trimmed = Trim(line);
  if (trimmed.empty()) return "";
  const std::string_view name = trimmed.substr(0, trimmed.find_first_of(" \t"));
  const auto found = commands_.find(name);
  if (found == commands_.end()) return StrCat("unknown command: '", name, "'\r\n");
  return found->second(Trim(trimmed.substr(name.size())));
}

}  // namespace millrace
