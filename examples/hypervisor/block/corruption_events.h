// BLOCK_IMAGE_CORRUPTED, and the line on stderr that QEMU writes with it.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_CORRUPTION_EVENTS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_CORRUPTION_EVENTS_H_

#include <string>

#include "examples/hypervisor/block/block_layer.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/drivers/qcow2/corruption.h"

namespace millrace {

// In QEMU's words where QEMU finds the same; else in ours.
std::string CorruptionText(const Qcow2Corruption& found);
void EmitCorruption(BlockLayer& layer, const Qcow2Corruption& found) MILLRACE_OPENS_VIEW;

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_CORRUPTION_EVENTS_H_
