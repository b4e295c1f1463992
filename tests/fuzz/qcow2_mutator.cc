// libFuzzer's mutator for inputs that hold a qcow2 image: four times in five a field of the image
// changes as qcow2_image_mutator.h knows them; else libFuzzer does as it likes, with what comes
// before the image too. Now and then the file becomes a cluster longer or shorter.
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "millrace/engine/scheduler/decider.h"
#include "tests/fuzz/qcow2_image_mutator.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t bytes, size_t bytes_max);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t bytes, size_t bytes_max,
                                          unsigned int seed) {
  millrace::RandomStream random(seed, "mutator");
  const size_t start = millrace::FindQcow2Image(absl::MakeConstSpan(data, bytes));
  if (start == bytes || random.OneIn(5)) return LLVMFuzzerMutate(data, bytes, bytes_max);
  if (random.OneIn(16)) {
    const size_t change = size_t{512} << random.Below(8);
    if (random.OneIn(2) && change <= bytes_max - bytes) {
      std::fill_n(data + bytes, change, uint8_t{0});
      bytes += change;
    } else if (change < bytes - start) {
      bytes -= change;
    }
  }
  if (start < bytes) {
    millrace::MutateQcow2Image(random, absl::MakeSpan(data + start, bytes - start));
  }
  return bytes;
}
