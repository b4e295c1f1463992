// add-fd, remove-fd, query-fdsets, getfd, closefd: descriptors that clients pass over the control
// socket.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_FD_COMMANDS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_FD_COMMANDS_H_

#include "examples/hypervisor/process/fd_sets.h"
#include "examples/hypervisor/qmp/command_table.h"

namespace millrace {

// Both must outlive the commands.
void RegisterFdCommands(CommandTable& commands, FdSets& sets);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_FD_COMMANDS_H_
