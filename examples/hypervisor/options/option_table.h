// OptionTable: what the command line's options do, in the order in which they are given.
//
//   options.Register("blockdev", [&](std::string_view text) MILLRACE_MAY_SUSPEND {
//     MILLRACE_ASSIGN_OR_RETURN(OptionValue value, ParseKeyval(text, "driver"));
//     return CoAddBlockdev(value);
//   });
//
// An option that the human monitor takes as well (object_add) may have a planner; see
// qmp/command_plan.h.
//
// A failed status ends the program with "PROGRAM: --blockdev TEXT: MESSAGE" and exit code 1; the
// message is put into words like a QMP error. Filled before options are run. Home thread only.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_OPTIONS_OPTION_TABLE_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_OPTIONS_OPTION_TABLE_H_

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "examples/hypervisor/qmp/command_plan.h"
#include "millrace/engine/base/capabilities.h"

namespace millrace {

// `text` is the option's argument as it was given. Runs in a coroutine of the engine; may suspend.
using OptionHandler = std::function<absl::Status(std::string_view text)>;

// What that would do, or its refusal. Does not suspend.
using OptionPlanner = std::function<PlanResult(std::string_view text)>;

// What a handler returns that was asked for help ("format=help"): on the command line it is
// printed, and the program ends with exit code 0; who asks the human monitor gets it as an answer.
absl::Status Help(std::string_view text);
// Its text; nothing if the status is none of these.
std::optional<std::string> HelpOf(const absl::Status& status);

class OptionTable {
 public:
  // `name` without dashes. A name can be registered once (checked).
  void Register(std::string_view name, OptionHandler handler);
  bool Has(std::string_view name) const { return handlers_.find(name) != handlers_.end(); }
  // `name` is registered (checked).
  absl::Status CoRun(std::string_view name, std::string_view text) const MILLRACE_MAY_SUSPEND;

  // Once for each name (checked).
  void SetPlanner(std::string_view name, OptionPlanner planner);
  // What CoRun() would do. `name` has a planner (checked).
  PlanResult Plan(std::string_view name, std::string_view text) const;

 private:
  std::map<std::string, OptionHandler, std::less<>> handlers_;
  std::map<std::string, OptionPlanner, std::less<>> planners_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_OPTIONS_OPTION_TABLE_H_
