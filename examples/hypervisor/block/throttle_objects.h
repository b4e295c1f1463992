// Throttle groups as objects of the monitor (object-add throttle-group), and their limits as QAPI
// and command lines write them.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_THROTTLE_OBJECTS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_THROTTLE_OBJECTS_H_

#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "examples/hypervisor/qmp/argument_reader.h"
#include "examples/hypervisor/qmp/object_registry.h"
#include "millrace/graph/filters/throttle_group.h"

namespace millrace {

// Null if there is no such object.
std::shared_ptr<ThrottleGroup> FindThrottleGroup(const ObjectRegistry& objects,
                                                 std::string_view id);

// Nothing is held back by any of them any more.
void LiftThrottleGroupLimits(const ObjectRegistry& objects);

// How the six limits are called: "bps-total", "bps-total-max" ..., or "bps", "bps_rd", "bps_max"
// ...
enum class LimitNames : uint8_t { kOfGroups, kOfDrives };

// Reads what is there; `prefix` stands in front of each name ("x-").
void ReadThrottleLimits(ArgumentReader& reader, LimitNames names, std::string_view prefix,
                        ThrottleLimits* limits);
// Refuses limits that make no sense, in QEMU's words.
absl::Status CheckThrottleLimits(const ThrottleLimits& limits);
bool HasAnyLimit(const ThrottleLimits& limits);

// A group as an object that it is given to keep, by qom-get's "limits".
json::object DescribeGroupLimits(const ThrottleLimits& limits);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_THROTTLE_OBJECTS_H_
