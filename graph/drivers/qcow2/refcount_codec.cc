#include "millrace/graph/drivers/qcow2/refcount_codec.h"

#include "millrace/graph/drivers/qcow2/big_endian.h"

namespace millrace::qcow2 {

uint64_t LoadRefcount(const uint8_t* block, uint64_t index, uint32_t order) {
  switch (order) {
    case 3:
      return block[index];
    case 4:
      return LoadBig<uint16_t>(block + 2 * index);
    case 5:
      return LoadBig<uint32_t>(block + 4 * index);
    case 6:
      return LoadBig<uint64_t>(block + 8 * index);
    default: {
      const uint32_t bits = 1u << order;
      const uint64_t first_bit = index << order;
      return block[first_bit / 8] >> (first_bit % 8) & ((1u << bits) - 1);
    }
  }
}

void StoreRefcount(uint8_t* block, uint64_t index, uint32_t order, uint64_t value) {
  switch (order) {
    case 3:
      block[index] = static_cast<uint8_t>(value);
      return;
    case 4:
      return StoreBig<uint16_t>(block + 2 * index, static_cast<uint16_t>(value));
    case 5:
      return StoreBig<uint32_t>(block + 4 * index, static_cast<uint32_t>(value));
    case 6:
      return StoreBig<uint64_t>(block + 8 * index, value);
    default: {
      const uint32_t bits = 1u << order;
      const uint64_t first_bit = index << order;
      const uint32_t shift = first_bit % 8;
      const uint32_t mask = ((1u << bits) - 1) << shift;
      uint8_t& byte = block[first_bit / 8];
      byte = static_cast<uint8_t>((byte & ~mask) | static_cast<uint32_t>(value) << shift);
    }
  }
}

}  // namespace millrace::qcow2
