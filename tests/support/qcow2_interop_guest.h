// Our turn at an image that QEMU writes too, by the path that ships: the image is opened by its
// header with all that lies below, and a guest keeps many requests in flight on it.
#ifndef MILLRACE_TESTS_SUPPORT_QCOW2_INTEROP_GUEST_H_
#define MILLRACE_TESTS_SUPPORT_QCOW2_INTEROP_GUEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "millrace/engine/io/simulated_disk.h"

namespace millrace {

struct InteropGuestOptions {
  std::string path{};  // of the image, on the simulated disk
  uint64_t cluster_bytes = 65536;
  bool may_grow = true;
  uint64_t seed = 0;  // of the operations, and of the schedule they run under
};

// Three workers, each on its own stripe of the disk, of up to three requests at a time; stripes
// meet inside clusters, and on any byte. `model` is what the guest must see, at first and
// afterwards; `operations` grows by those that were done. The error says what differed, or what was
// logged.
absl::Status RunInteropGuest(SimulatedDisk& disk, const InteropGuestOptions& options,
                             std::vector<uint8_t>& model, uint64_t& operations);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_QCOW2_INTEROP_GUEST_H_
