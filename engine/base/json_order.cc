#include "millrace/engine/base/json_order.h"

#include <cstddef>

namespace millrace {

uint32_t QemuBucketOf(std::string_view key) {
  auto value = static_cast<uint32_t>(0x238F13AFu * key.size());
  for (size_t i = 0; i < key.size(); ++i) {
    value += static_cast<uint32_t>(static_cast<unsigned char>(key[i])) << (i * 5 % 24);
  }
  return (1103515243u * value + 12345u) % 512;
}

}  // namespace millrace
