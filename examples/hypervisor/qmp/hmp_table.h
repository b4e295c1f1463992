// HmpTable: the commands of human-monitor-command, by their first word.
//
//   hmp.Register("qemu-io", [&](std::string_view rest) MILLRACE_MAY_SUSPEND {
//     return CoQemuIo(rest);
//   });
//
// A handler returns what it "prints", which becomes the reply string; lines end with "\r\n".
// Unlike a QMP error, an HMP error is such a string ("Error: ...\r\n"). Home thread only.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_QMP_HMP_TABLE_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_QMP_HMP_TABLE_H_

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "examples/hypervisor/qmp/command_plan.h"
#include "millrace/engine/base/capabilities.h"

namespace millrace {

// `rest` is the line behind the first word, without spaces around it. May suspend.
using HmpHandler = std::function<std::string(std::string_view rest)>;

// What the line would do, or, as a refusal (RefusedLine), what it would answer, or print, instead.
// Does not suspend.
using HmpPlanner = std::function<PlanResult(std::string_view rest)>;

// The refusal of a line that answers with this text; with the conflict of what refused it, if any.
absl::Status RefusedLine(std::string_view text, const absl::Status& because = {});

class HmpTable {
 public:
  // A name can be registered once (checked).
  void Register(std::string_view name, HmpHandler handler);
  // Runs one command line; "unknown command: 'x'\r\n" if there is none.
  std::string CoRun(std::string_view line) const MILLRACE_MAY_SUSPEND;

  // How lines of a command are planned; once for each name (checked).
  void SetPlanner(std::string_view name, HmpPlanner planner);
  // What the line would do; a command without a planner is not planned.
  PlanResult Plan(std::string_view line) const;

 private:
  std::map<std::string, HmpHandler, std::less<>> commands_;
  std::map<std::string, HmpPlanner, std::less<>> planners_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_HMP_TABLE_H_
