// The throttle filter: keeps the I/O of a node within the limits of a ThrottleGroup.
//
// Reads, writes, zero writes and discards wait for their turn (the last three count as writes);
// flushes do not. While the node is drained, requests go at once and are charged.
#ifndef MILLRACE_GRAPH_FILTERS_THROTTLE_H_
#define MILLRACE_GRAPH_FILTERS_THROTTLE_H_

#include <memory>

#include "millrace/graph/driver.h"
#include "millrace/graph/filters/throttle_group.h"

namespace millrace {

// `group` must not be null, and of the same engine as the node.
std::unique_ptr<FilterDriver> MakeThrottleDriver(std::shared_ptr<ThrottleGroup> group);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_FILTERS_THROTTLE_H_
