#include "examples/hypervisor/options/option_table.h"

#include <utility>

#include "absl/strings/cord.h"
#include "millrace/engine/base/check.h"

namespace millrace {
namespace {

constexpr char kHelpPayload[] = "millrace/help";

}  // namespace

absl::Status Help(std::string_view text) {
  absl::Status status = absl::CancelledError("help was asked for");
  status.SetPayload(kHelpPayload, absl::Cord(absl::string_view(text.data(), text.size())));
  return status;
}

std::optional<std::string> HelpOf(const absl::Status& status) {
  const auto text = status.GetPayload(kHelpPayload);
  return text.has_value() ? std::optional<std::string>(std::string(*text)) : std::nullopt;
}

void OptionTable::Register(std::string_view name, OptionHandler handler) {
  const bool is_new = handlers_.emplace(name, std::move(handler)).second;
  MILLRACE_CHECK(is_new, "an option is registered once");
}

absl::Status OptionTable::CoRun(std::string_view name, std::string_view text) const {
  const auto found = handlers_.find(name);
  MILLRACE_CHECK(found != handlers_.end(), "the option is registered");
  return found->second(text);
}

void OptionTable::SetPlanner(std::string_view name, OptionPlanner planner) {
  const bool is_new = planners_.emplace(name, std::move(planner)).second;
  MILLRACE_CHECK(is_new, "an option is planned in one way");
}

PlanResult OptionTable::Plan(std::string_view name, std::string_view text) const {
  const auto found = planners_.find(name);
  MILLRACE_CHECK(found != planners_.end(), "the option has a planner");
  return found->second(text);
}

}  // namespace millrace
