// Daemon: millraced from its command line to its exit status.
//
//   const int status = RunDaemon(line, {MakeBlockLayer});
//
// Options are carried out in the order given; then the pid file is written, clients are greeted
// and commands served, until `quit` or SIGTERM. Then: the SHUTDOWN event, the parts' CoShutdown()
// in reverse order, and the last replies are given time to be read.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_DAEMON_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_DAEMON_H_

#include <functional>
#include <memory>
#include <vector>

#include "examples/hypervisor/process/command_line.h"
#include "examples/hypervisor/process/hypervisor_host.h"

namespace millrace {

// Makes a part, which registers what it offers with the host.
using HypervisorPartFactory = std::function<std::unique_ptr<HypervisorPart>(HypervisorHost& host)>;

// Returns the exit status: 0, or 1 after "PROGRAM: MESSAGE" on stderr. Once per process: it handles
// signals. Parts are made in the order given.
int RunDaemon(const CommandLine& line, const std::vector<HypervisorPartFactory>& parts);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_DAEMON_H_
