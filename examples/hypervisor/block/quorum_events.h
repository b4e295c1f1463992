// QUORUM_REPORT_BAD and QUORUM_FAILURE: what clients hear of a quorum's bad members and failed
// votes.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_QUORUM_EVENTS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_QUORUM_EVENTS_H_

#include "examples/hypervisor/block/block_layer.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/filters/quorum.h"

namespace millrace {

// Ranges are told in sectors of 512 bytes; a flush has none.
void EmitQuorumReport(BlockLayer& layer, const QuorumReport& report) MILLRACE_OPENS_VIEW;

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_QUORUM_EVENTS_H_
