// libFuzzer's mutator for inputs that are full of big-endian numbers: half of the time one of them
// becomes a value at an edge, or moves a little; else libFuzzer does as it likes. What a number is,
// nobody says: any aligned 1, 2, 4 or 8 bytes may be one, and in the formats here most are.
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "millrace/engine/scheduler/decider.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t bytes, size_t bytes_max);

namespace millrace {
namespace {

uint64_t Edge(RandomStream& random, uint64_t old, size_t file_bytes) {
  constexpr uint64_t kEdges[] = {0,
                                 1,
                                 2,
                                 3,
                                 7,
                                 8,
                                 9,
                                 12,
                                 63,
                                 64,
                                 103,
                                 104,
                                 112,
                                 255,
                                 256,
                                 511,
                                 512,
                                 513,
                                 1023,
                                 1024,
                                 1025,
                                 4096,
                                 65535,
                                 65536,
                                 1u << 22,
                                 0x7fffffff,
                                 0xffffffff,
                                 uint64_t{1} << 55,
                                 uint64_t{1} << 56,
                                 uint64_t{1} << 62,
                                 uint64_t{1} << 63,
                                 ~uint64_t{0}};
  switch (random.Below(5)) {
    case 0:
      return old + random.Below(17) - 8;
    case 1:
      return old ^ (uint64_t{1} << random.Below(64));
    case 2:  // some cluster of the file, used by this image alone or not
      return random.Below(file_bytes / 512 + 2) * 512 | (random.OneIn(2) ? uint64_t{1} << 63 : 0);
    default:
      return kEdges[random.Below(std::size(kEdges))];
  }
}

void ChangeNumber(RandomStream& random, uint8_t* data, size_t bytes) {
  size_t width = size_t{1} << random.Below(4);
  while (width > bytes) width /= 2;
  // Most often near the start, where the header and the first tables are.
  const size_t places = bytes / width;
  const size_t near = places < 64 ? places : 64;
  const size_t at = width * random.Below(random.OneIn(2) ? near : places);
  uint64_t value = 0;
  for (size_t i = 0; i < width; ++i) value = value << 8 | data[at + i];
  value = Edge(random, value, bytes);
  for (size_t i = width; i > 0; --i, value >>= 8) data[at + i - 1] = static_cast<uint8_t>(value);
}

}  // namespace
}  // namespace millrace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t bytes, size_t bytes_max,
                                          unsigned int seed) {
  millrace::RandomStream random(seed, "mutator");
  if (bytes < 8 || random.OneIn(2)) return LLVMFuzzerMutate(data, bytes, bytes_max);
  for (uint64_t i = 0; i <= random.Below(3); ++i) millrace::ChangeNumber(random, data, bytes);
  return bytes;
}
