// Who is at work on nodes: jobs, and guest devices with the iothreads that they run in.
//
// Each answer costs time proportional to the graph. Home thread; nothing suspends.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_GRAPH_USERS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_GRAPH_USERS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "examples/hypervisor/block/block_layer.h"
#include "millrace/graph/graph_view.h"

namespace millrace {

// The ids of the jobs that are attached to the node or, where it is a filter, to what it shows.
std::vector<std::string> JobsOn(const GraphReader& reader, NodeId node);

// All nodes that hang together are in the iothread of the devices on them. "Cannot change iothread
// of active block backend" if those around `node` are in different ones, among them `newcomer`, a
// device that is about to come there; null: nobody is.
absl::Status CheckIothreads(const BlockLayer& layer, const GraphReader& reader, NodeId node,
                            const GuestDevice* newcomer);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_GRAPH_USERS_H_
