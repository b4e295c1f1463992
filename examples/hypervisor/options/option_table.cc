#include "examples/hypervisor/options/option_table.h"

#include <utility>

#include "absl/strings/cord.h"
#include "millrace/engine/base/check.h"

namespace millrace {
namespace {

constexpr char kHelpPayload[] = "millrace/help-was-printed";

}  // namespace

absl::Status HelpWasPrinted() {
  absl::Status status = absl::CancelledError("help was printed");
  status.SetPayload(kHelpPayload, absl::Cord());
  return status;
}

bool IsHelpWasPrinted(const absl::Status& status) {
  return status.GetPayload(kHelpPayload).has_value();
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

}  // namespace millrace
