// SHA-256 (FIPS 180-4), for telling whether two bitmaps are equal; not for secrets. Plain data; any
// thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SHA256_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SHA256_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/types/span.h"

namespace millrace {

class Sha256 {
 public:
  void Add(absl::Span<const uint8_t> bytes);
  // The hash of all that was added, in hexadecimal; nothing is added afterwards.
  std::string Finish();

 private:
  void AddByte(uint8_t byte);
  void TakeBlock();

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> block_ = {};
  size_t in_block_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_SHA256_H_
