// Making new qcow2 images, empty ones, in a file that the caller has opened.
//
//   Qcow2CreateOptions options;
//   options.bytes = 20ull << 30;
//   MILLRACE_RETURN_IF_ERROR(CoCreateQcow2(file, options));
//
// What the format allows is said by docs/interop/qcow2.txt of QEMU; what may be chosen, and the
// defaults, are qemu-img's. An image over a backing file does not look at that file: whether there
// is one of that name, and how large it is, is for the caller to know. For a whole image file by
// its name see graph/image_tools.h.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_QCOW2_CREATE_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_QCOW2_CREATE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/graph/drivers/qcow2/image_file.h"

namespace millrace {

enum class Qcow2Compression : uint8_t { kZlib = 0, kZstd = 1 };

enum class Qcow2Preallocation : uint8_t {
  kOff,
  kMetadata,  // every guest cluster has its place; the file is sparse
};

struct Qcow2CreateOptions {
  uint64_t bytes = 0;  // virtual size; rounded up to a multiple of 512
  uint32_t version = 3;
  uint64_t cluster_bytes = 65536;  // a power of two, 512 to 2 MiB
  uint32_t refcount_bits = 16;     // 1, 2, 4, … 64; version 2 has 16 only
  bool extended_l2 = false;        // subclusters; needs version 3 and clusters of at least 16 KiB
  bool lazy_refcounts = false;     // needs version 3
  Qcow2Compression compression = Qcow2Compression::kZlib;  // others than zlib need version 3
  Qcow2Preallocation preallocation = Qcow2Preallocation::kOff;
  std::string backing_filename{};  // as it is to stand in the header; empty: none
  std::string backing_format{};    // empty: not given; only together with a backing file name
};

// Writes an empty image into `file`, which is emptied first, and flushes it. The header comes last,
// behind a flush of its own: until then, and after an error or a crash in between, the file is no
// image rather than a broken one.
//
// Home thread; nobody else uses the file meanwhile. CancelledError between two tables if the
// coroutine's scope is cancelled: then the file is no image either. InvalidArgument
// (kInvalidOption) names the option that is out of its range, does not go together with another, or
// needs larger tables than the format has, and leaves the file as it was; else what the file's own
// writes say (ResourceExhausted: no space).
absl::Status CoCreateQcow2(ImageFile& file, const Qcow2CreateOptions& options) MILLRACE_MAY_SUSPEND;

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_QCOW2_CREATE_H_
