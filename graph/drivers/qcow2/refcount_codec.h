// Refcounts of 1 to 64 bits packed into a block: below 8 bits from the least significant bit of
// each byte, above in big-endian order. Internal; not installed.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_REFCOUNT_CODEC_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_REFCOUNT_CODEC_H_

#include <cstdint>

namespace millrace::qcow2 {

// `order` is log2 of the width in bits, 0 to 6; `index` counts from the start of `block`, which is
// long enough.
uint64_t LoadRefcount(const uint8_t* block, uint64_t index, uint32_t order);
// `value` must fit into the width.
void StoreRefcount(uint8_t* block, uint64_t index, uint32_t order, uint64_t value);

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_REFCOUNT_CODEC_H_
