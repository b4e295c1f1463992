// Questions that management programs ask about any machine before they get to its disks:
// query-name, query-uuid, query-chardev, query-chardev-backends.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_MACHINE_QUERIES_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_MACHINE_QUERIES_H_

#include "examples/hypervisor/process/chardev.h"
#include "examples/hypervisor/qmp/command_table.h"

namespace millrace {

// Both must outlive the commands.
void RegisterMachineQueries(CommandTable& commands, const ChardevTable& chardevs);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_MACHINE_QUERIES_H_
