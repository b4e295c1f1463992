// What query-qmp-schema says of block devices: the types of blockdev-add's arguments, made from the
// table of drivers that reads them, so that a client learns what there really is.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_BLOCKDEV_TYPES_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_BLOCKDEV_TYPES_H_

#include "examples/hypervisor/qmp/json.h"

namespace millrace {

// "BlockdevOptions", whose variants are told apart by "driver", and all types that it leads to,
// save those that every schema has.
json::array DescribeBlockdevTypes();

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_BLOCKDEV_TYPES_H_
