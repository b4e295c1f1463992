// The raw format: the guest's bytes as they are, or a window on them.
//
// Without a size the image reaches to the end of its primary child and grows with it; with one it
// is fixed: beyond it a format above reads zeroes (kZero), and writes, zeroes and discards find no
// space (ENOSPC), whoever asks. Every byte counts as allocated, holes too, as in QEMU: CoMap
// answers kData with the place in the child, and that a hole reads as zeroes is for the generic
// path to learn from the child.
//
// Raw is raw because somebody said so: its content is never looked at to find a format in it, or a
// guest could choose how its disk is read the next time. Where it was guessed (was_guessed), writes
// that would make the start of the file look like an image of another format are refused with EPERM
// (QEMU: "write operations on block 0 will be restricted").
#ifndef MILLRACE_GRAPH_DRIVERS_RAW_H_
#define MILLRACE_GRAPH_DRIVERS_RAW_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "millrace/graph/driver.h"

namespace millrace {

struct RawOptions {
  uint64_t offset = 0;              // where the image starts in the primary child
  std::optional<uint64_t> bytes{};  // size; absent: up to the child's end
  // Nobody stated the format. So it stays while the node lives, whatever it is reopened with.
  bool was_guessed = false;
};

// CoOpen: InvalidArgument if the window does not lie inside the child.
std::unique_ptr<FormatDriver> MakeRawDriver(const RawOptions& options = {});

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVERS_RAW_H_
