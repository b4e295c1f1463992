// The properties that models of guest devices have in QEMU 7.2. What most of them mean is of no
// matter here, where devices do no I/O; that a client has spelled one right is.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_DEVICE_PROPERTIES_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_DEVICE_PROPERTIES_H_

#include <string_view>

#include "absl/status/status.h"
#include "examples/hypervisor/qmp/json.h"

namespace millrace {

// "Property 'scsi-hd.sharerw' not found", of the first that the model has not. `properties` may
// name the driver, the id and the bus as well.
absl::Status CheckDeviceProperties(std::string_view model, const json::object& properties);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_DEVICE_PROPERTIES_H_
