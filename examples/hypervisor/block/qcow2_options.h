// QEMU's options for an open qcow2 image, put into the library's: one cache instead of two, one
// word on discards instead of three.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_QCOW2_OPTIONS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_QCOW2_OPTIONS_H_

#include "absl/status/status.h"
#include "millrace/graph/node_tree.h"

namespace millrace {

// Reads what the tree was told and sets the library's options. Refuses in QEMU's words what
// contradicts itself.
absl::Status SetQcow2Options(NodeTree& tree);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_QCOW2_OPTIONS_H_
