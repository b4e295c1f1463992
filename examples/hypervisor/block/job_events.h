// Job events as QMP events, and jobs as queries show them.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_EVENTS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_EVENTS_H_

#include "absl/status/status.h"
#include "examples/hypervisor/qmp/event_sink.h"
#include "millrace/engine/job/job_event.h"
#include "millrace/engine/job/job_info.h"

namespace millrace {

// Never suspends.
void EmitJobEvent(EventSink& events, const JobEvent& event);

// If `status` refuses a job that QEMU would have made by then, clients hear that it was created and
// is gone, as there (jobs/late_refusal.h). Before the reply, as all events.
void TellOfRefusedJob(EventSink& events, const absl::Status& status);

// An element of query-block-jobs, and of query-jobs.
json::object DescribeBlockJob(const JobInfo& job);
json::object DescribeJob(const JobInfo& job);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_JOB_EVENTS_H_
