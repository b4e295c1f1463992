#include "examples/hypervisor/qmp/hmp_table.h"

#include <utility>

#include "examples/hypervisor/qmp/qmp_error.h"
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

namespace {

struct SplitLine {
  std::string_view name;
  std::string_view rest;
};

SplitLine Split(std::string_view line) {
  const std::string_view trimmed = Trim(line);
  const std::string_view name = trimmed.substr(0, trimmed.find_first_of(" \t"));
  return {name, Trim(trimmed.substr(name.size()))};
}

std::string UnknownCommand(std::string_view name) {
  return StrCat("unknown command: '", name, "'\r\n");
}

}  // namespace

std::string HmpTable::CoRun(std::string_view line) const {
  const auto [name, rest] = Split(line);
  if (name.empty()) return "";
  const auto found = commands_.find(name);
  return found == commands_.end() ? UnknownCommand(name) : found->second(rest);
}

void HmpTable::SetPlanner(std::string_view name, HmpPlanner planner) {
  const bool is_new = planners_.emplace(name, std::move(planner)).second;
  MILLRACE_CHECK(is_new, "a monitor command is planned in one way");
}

PlanResult HmpTable::Plan(std::string_view line) const {
  const auto [name, rest] = Split(line);
  if (name.empty()) return PlanOfStep("nothing: the line is empty");
  if (!commands_.contains(name)) return RefusedLine(UnknownCommand(name));
  const auto found = planners_.find(name);
  if (found != planners_.end()) return found->second(rest);
  CommandPlan plan;
  plan.why_not = StrCat("of '", name,
                        "' only the command itself reads the line; ask for the plan of "
                        "the QMP command that does the same");
  return plan;
}

absl::Status RefusedLine(std::string_view text, const absl::Status& because) {
  absl::Status refusal = GenericError(std::string(text));
  return because.ok() ? refusal : WithConflictOf(std::move(refusal), because);
}

}  // namespace millrace
