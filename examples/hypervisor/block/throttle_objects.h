// Throttle groups as objects of the monitor (object-add throttle-group).
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_THROTTLE_OBJECTS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_THROTTLE_OBJECTS_H_

#include <memory>
#include <string_view>

#include "examples/hypervisor/qmp/object_registry.h"
#include "millrace/graph/filters/throttle_group.h"

namespace millrace {

// Null if there is no such object.
std::shared_ptr<ThrottleGroup> FindThrottleGroup(const ObjectRegistry& objects,
                                                 std::string_view id);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_THROTTLE_OBJECTS_H_
