// Changes to the bytes of a qcow2 image that know its fields: the header, its extensions, L1, L2
// and refcount tables, the snapshot table, the bitmap directory, compressed data. What they put
// there is what lies near the truth: another structure's place, the limit and one more, a flag too
// many.
//
// For fuzzers, and for tests that want hostile images by the thousand.
#ifndef MILLRACE_TESTS_FUZZ_QCOW2_IMAGE_MUTATOR_H_
#define MILLRACE_TESTS_FUZZ_QCOW2_IMAGE_MUTATOR_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "millrace/engine/scheduler/decider.h"

namespace millrace {

enum class Qcow2Part : uint8_t {
  kHeader,
  kExtension,
  kL1Entry,
  kL2Entry,
  kRefcountTable,
  kRefcount,
  kSnapshot,
  kBitmap,
  kData,     // a byte of a data cluster, compressed or not
  kCluster,  // a whole cluster becomes a copy of another, or zeroes
};
inline constexpr size_t kQcow2Parts = 10;

// Where the image begins in a fuzzer's input: at its magic number, near the start; the end of the
// input if there is none.
size_t FindQcow2Image(absl::Span<const uint8_t> input);

// Changes one value of `part` in place; any bytes may be given. False if there is no such part, and
// nothing was changed.
bool MutateQcow2Part(RandomStream& random, absl::Span<uint8_t> image, Qcow2Part part);

// One to four changes of parts drawn at random.
void MutateQcow2Image(RandomStream& random, absl::Span<uint8_t> image);

}  // namespace millrace

#endif  // MILLRACE_TESTS_FUZZ_QCOW2_IMAGE_MUTATOR_H_
