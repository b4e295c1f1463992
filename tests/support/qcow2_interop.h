// One round trip between QEMU's qcow2 and ours, chosen by a seed: for the interop tests and for the
// campaign of the same name.
#ifndef MILLRACE_TESTS_SUPPORT_QCOW2_INTEROP_H_
#define MILLRACE_TESTS_SUPPORT_QCOW2_INTEROP_H_

#include <cstdint>

#include "absl/status/status.h"

namespace millrace {

struct InteropCounts {
  uint64_t images = 0;
  uint64_t operations = 0;
  uint64_t guest_turns = 0;
  uint64_t qemu_checks = 0;
};

// Makes an image with QEMU or with us, over all options of the format, has both write to it in
// turns (with a snapshot and a bitmap now and then), and holds both to one model: content by both
// readers, the map of both, `qemu-img check` and our own check clean after every turn. Our turns
// are those of the driver alone, one request at a time; by even seeds, of a guest with many in
// flight on an image opened in a graph. The error says what differed.
absl::Status RunQcow2Interop(uint64_t seed, InteropCounts& counts);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_QCOW2_INTEROP_H_
