// The qcow2 format driver, versions 2 and 3, read and write.
//
// Supported: every cluster size and refcount width, zero clusters, subclusters (extended L2),
// compressed clusters (read; a write replaces them), internal snapshots (preserved, by copying on
// write), lazy refcounts, persistent bitmaps (kept; those that record writes are marked as in use
// by the first write, because this driver does not keep them up to date). Not supported, and
// refused by name: encryption, external data files, unknown incompatible features.
//
// Order on the host, at any crash: data before the mapping that shows it, refcounts before use,
// the header last. What a crash can leave behind is leaked clusters, no more. Metadata is written
// back in batches, at CoFlushMetadata(), when the cache is full, and at CoClose().
//
// Errors: DataLoss for broken metadata (a writable image is marked corrupt and takes no further
// write), InvalidArgument for a header that cannot be right, Unimplemented with a Conflict
// (kUnsupportedFeature) for features we do not have, FailedPrecondition for a write to an image
// marked corrupt.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_QCOW2_DRIVER_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_QCOW2_DRIVER_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "millrace/graph/driver.h"
#include "millrace/graph/drivers/qcow2/corruption.h"

namespace millrace {

struct Qcow2OpenOptions {
  // Upper bound of the metadata cache. Memory is taken as tables are used, in pieces of at most
  // 4 KiB; 32 MiB cover 256 GiB of guest data at 64 KiB clusters.
  uint64_t cache_bytes_max = uint64_t{32} << 20;
  // Whether space freed by discards and zero writes is given back to the host.
  bool pass_discards = true;
  // Hears of what is found to be broken in the tables, once for each time that the image is opened
  // or becomes writable: before the request that found it fails, and before the image is marked.
  // Must not suspend. Absent: nobody does; the engine's log is told either way.
  std::function<void(const Qcow2Corruption&)> on_corruption{};
};

std::unique_ptr<FormatDriver> MakeQcow2Driver(const Qcow2OpenOptions& options = {});

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_QCOW2_DRIVER_H_
