// What the commands that start block jobs have in common.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_OPTIONS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_OPTIONS_H_

#include <optional>
#include <string_view>
#include <vector>

#include "examples/hypervisor/qmp/argument_reader.h"
#include "examples/hypervisor/qmp/command_table.h"
#include "millrace/engine/job/error_policy.h"
#include "millrace/jobs/block_job.h"

namespace millrace {

inline constexpr std::string_view kOnErrorNames[] = {"report", "ignore", "enospc", "stop", "auto"};

// The enum argument `name`; kReport if it is absent.
OnError ReadOnError(ArgumentReader& reader, std::string_view name);

// job-id, speed, auto-finalize, auto-dismiss, filter-node-name, and x-millrace-latency-target: what
// the 99th percentile of guests' reads and writes is not to exceed, in microseconds; 0: none.
void ReadBlockJobOptions(ArgumentReader& reader, BlockJobOptions* options);

// The specifications of these, to be put behind a command's own.
void AppendBlockJobArguments(std::vector<ArgumentSpec>* arguments);
ArgumentSpec OnErrorArgument(std::string_view name);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_OPTIONS_H_
