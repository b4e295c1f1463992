// MetadataMap: which host clusters hold metadata, as far as is known.
//
// The last line of defence against images whose refcounts or tables lie: what is allocated, and
// what is written in place, must not overlap anything in here. Home thread.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_METADATA_MAP_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_METADATA_MAP_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/container/btree_map.h"
#include "millrace/graph/drivers/qcow2/geometry.h"

namespace millrace::qcow2 {

enum class MetadataKind : uint8_t {
  kHeader,
  kL1Table,
  kL2Table,
  kRefcountTable,
  kRefcountBlock,
  kSnapshotTable,
  kSnapshotL1Table,
  kBitmapDirectory,
};
std::string_view MetadataKindName(MetadataKind kind);  // "L2 table"

// Consecutive host clusters.
struct ClusterRun {
  HostCluster first;
  uint64_t count = 0;

  uint64_t end() const { return first.value() + count; }
};

class MetadataMap {
 public:
  // Nothing, or the kind of what is there already; then nothing is added.
  std::optional<MetadataKind> Add(ClusterRun run, MetadataKind kind);
  // What the run overlaps, if anything.
  std::optional<MetadataKind> Find(ClusterRun run) const;
  // Forgets an L2 table or refcount block at `cluster`, or a whole table that starts there.
  void Remove(HostCluster cluster) { runs_.erase(cluster.value()); }
  void Clear() { runs_.clear(); }

 private:
  struct Entry {
    uint64_t count = 0;
    MetadataKind kind = MetadataKind::kHeader;
  };
  absl::btree_map<uint64_t, Entry> runs_;  // by first cluster; they do not overlap
};

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_METADATA_MAP_H_
