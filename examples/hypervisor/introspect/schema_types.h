// What query-qmp-schema tells beside commands and drivers: every event with its data, the objects
// that can be made, and a device's own properties.
//
// Members with a default are optional. A device takes more properties than are told, as in QEMU:
// those of its model.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_SCHEMA_TYPES_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_SCHEMA_TYPES_H_

#include "examples/hypervisor/qmp/json.h"

namespace millrace {

json::array DescribeEvents();
// "ObjectOptions", with a variant for each value of "qom-type".
json::array DescribeObjectTypes();
// "DeviceOptions".
json::array DescribeDeviceTypes();

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_INTROSPECT_SCHEMA_TYPES_H_
