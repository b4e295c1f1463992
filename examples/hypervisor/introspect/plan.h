// Plans of commands whose own files need not know of them: x-millrace-plan (qmp/command_plan.h).
// Other commands are planned where they are carried out, by the same checks.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_PLAN_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_PLAN_H_

#include "examples/hypervisor/block/block_layer.h"

namespace millrace {

// Jobs: block-stream, block-commit, blockdev-mirror (plan_jobs.cc).
void SetJobPlanners(BlockLayer& layer);
// Verbs: job-pause and so on, and block-job-pause and so on; and quit (plan_verbs.cc).
void SetVerbPlanners(BlockLayer& layer);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_PLAN_H_
