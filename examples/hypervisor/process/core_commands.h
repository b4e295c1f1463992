// The commands that need no block layer: about the daemon itself, its objects, and its end.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_CORE_COMMANDS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_CORE_COMMANDS_H_

#include <functional>

#include "examples/hypervisor/process/hypervisor_host.h"
#include "examples/hypervisor/qmp/command_plan.h"
#include "examples/hypervisor/qmp/json.h"

namespace millrace {

// The value of query-version, and of the greeting.
json::object DescribeVersion();

// qmp_capabilities, quit, query-version, query-commands, query-qmp-schema, query-status, stop,
// cont, human-monitor-command, object-add, object-del. `quit` is called once per quit command.
// Everything in `host` outlives the table of commands.
void RegisterCoreCommands(HypervisorHost& host, std::function<void()> quit);

// The plan of object-add; `style` is kText for the options of a command line.
PlanResult PlanObjectAdd(const ObjectRegistry& objects, const json::object& options,
                         ScalarStyle style);

// The object type "iothread". The engine runs on one thread whatever the client asks for, so this
// is a name that devices may mention.
void RegisterIothreadType(ObjectRegistry& objects);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_CORE_COMMANDS_H_
