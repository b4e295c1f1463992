// What plans of jobs share (qmp/command_plan.h): what there is before, what the job would claim,
// and the graph when it has ended.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_PLANS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_PLANS_H_

#include <functional>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/qmp/command_plan.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/jobs/block_job.h"

namespace millrace {

// The chain below `device` before anything is done, and the nodes of the job's chain, on which no
// other job could start; the proofs are still held.
CommandPlan PlanBefore(BlockLayer& layer, NodeId device, const BlockJobProofs& proofs)
    MILLRACE_OPENS_VIEW;

// What the job core would say to a job whose start has been rehearsed. `holder` has its id.
absl::Status CheckJobStart(BlockLayer& layer, JobSpec spec, const Holder& holder);

// Stages the edit of a job's end; returns the device's node then.
using StageJobEnd = std::function<NodeId(GraphTransaction& change)>;
// The plan with what follows from the edit of the job's end. The job is over by then, and holds
// nothing any more. That its end would be refused if it came now does not keep it from starting.
CommandPlan PlanWithEnd(BlockLayer& layer, CommandPlan plan, const StageJobEnd& stage)
    MILLRACE_OPENS_VIEW;

// A mirror's target is to its new users what the source was.
void StageBecomeAs(GraphTransaction& change, NodeId target, NodeId source);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_PLANS_H_
