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

#include "millrace/engine/base/capabilities.h"

namespace millrace {

// `rest` is the line behind the first word, without spaces around it. May suspend.
using HmpHandler = std::function<std::string(std::string_view rest)>;

class HmpTable {
 public:
  // A name can be registered once (checked).
  void Register(std::string_view name, HmpHandler handler);
  // Runs one command line; "unknown command: 'x'\r\n" if there is none.
  std::string CoRun(std::string_view line) const MILLRACE_MAY_SUSPEND;

 private:
  std::map<std::string, HmpHandler, std::less<>> commands_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_QMP_HMP_TABLE_H_
