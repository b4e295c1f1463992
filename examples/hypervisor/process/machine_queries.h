// Questions that management programs ask about any machine before they get to its disks:
// query-name, query-uuid, query-chardev, query-chardev-backends; and what the command line says for
// the first two.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_MACHINE_QUERIES_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_MACHINE_QUERIES_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "examples/hypervisor/process/chardev.h"
#include "examples/hypervisor/qmp/command_table.h"

namespace millrace {

// What the machine is called, by whoever started it.
class MachineIdentity {
 public:
  // The argument of -name: "[guest=]NAME[,process=..][,debug-threads=..]".
  absl::Status SetName(std::string_view text);
  // The argument of -uuid.
  absl::Status SetUuid(std::string_view text);

  const std::string& name() const { return name_; }
  const std::string& uuid() const { return uuid_; }

 private:
  std::string name_;  // "": none
  std::string uuid_ = "00000000-0000-0000-0000-000000000000";
};

// All must outlive the commands.
void RegisterMachineQueries(CommandTable& commands, const ChardevTable& chardevs,
                            const MachineIdentity& identity);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_MACHINE_QUERIES_H_
