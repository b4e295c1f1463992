// The memory overlay: a copy-on-write format that needs no primary child, because its data live in
// memory with its allocation map and a simulated header. Small scenarios use it in place of qcow2.
//
// What qcow2 does, it does in miniature: clusters that are unallocated, zero or data; allocations
// that serialise per cluster; data written before the map names it; a header with the backing
// file's name and format, which survives closing. In a simulation each write of data, of the map,
// of the header, each read of data and each flush is one step of simulated I/O, like in the memory
// driver; what a step has applied survives a simulated crash. (Looking into the map takes no step,
// unless `map_takes_step`.) On a real engine nothing suspends but waiting for a cluster.
#ifndef MILLRACE_GRAPH_DRIVERS_MEMORY_OVERLAY_H_
#define MILLRACE_GRAPH_DRIVERS_MEMORY_OVERLAY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "millrace/graph/driver.h"
#include "millrace/graph/drivers/sparse_bytes.h"

namespace millrace {

// The allocation map is an array in memory: this many entries at most.
inline constexpr uint64_t kMemoryOverlayClustersMax = uint64_t{1} << 28;

// What would be in the file: shared by everyone who opens "the same image", one after the other.
struct MemoryOverlayImage {
  enum class Cluster : uint8_t { kUnallocated, kZero, kData };

  // Checks that the cluster size is a power of two and that there are not too many clusters.
  MemoryOverlayImage(uint64_t image_bytes, uint64_t image_cluster_bytes);

  uint64_t bytes;          // virtual size; need not be a multiple of the cluster size
  uint64_t cluster_bytes;  // a power of two
  BackingReference backing;
  std::vector<Cluster> map;  // one entry per cluster, the last one perhaps partial
  SparseBytes content;       // at guest offsets; meaningless where the map does not say kData
};

struct MemoryOverlayOptions {
  uint64_t bytes = 0;            // of a new image, as the next two; ignored if `image` is given
  uint64_t cluster_bytes = 512;  // a power of two
  BackingReference backing{};
  std::shared_ptr<MemoryOverlayImage> image{};  // null: a new, empty one
  std::string filename{};                       // what Driver::filename() answers
  bool map_takes_step = false;                  // CoMap suspends too, as loading a table would
};

// The driver answers has_primary() with false.
std::unique_ptr<FormatDriver> MakeMemoryOverlayDriver(MemoryOverlayOptions options);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVERS_MEMORY_OVERLAY_H_
